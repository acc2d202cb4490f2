//! Entries for peers and for the machine: from memory where they are, else from the store.
//!
//! Between naming entries and reading them the log may be rewritten, so what was read is compared
//! with what was named, id by id, and a difference drops the send; no message ever mixes two logs.

use std::collections::BTreeMap;

use raft_core::consensus::{Body, Input, Message, NotSent, SendId};
use raft_core::storage::{LogError, LogErrorKind};
use raft_core::types::{Entry, LogIndex, NodeId};

use super::event::{Clients, Effects, Fetch, FetchId};
use super::planted::planted;
use super::tail_cache::{begin_span, run_into_span};
use super::{Pump, StopReason};
use crate::{Content, Entries};

/// Questions to the store that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    last_id: u64,
    open: BTreeMap<FetchId, Purpose>,
}

/// What entries are for.
#[derive(Debug)]
pub(super) enum Purpose {
    Apply,
    Send { to: NodeId, message: Message, send: SendId },
}

impl<C: Clients> Pump<C> {
    /// Asks the store. At most one question is open for each peer, and one for the machine.
    pub(super) fn fetch(
        &mut self,
        purpose: Purpose,
        first: LogIndex,
        last: LogIndex,
        max_bytes: u64,
        effects: &mut Effects<C>,
    ) {
        self.fetching.last_id += 1;
        let id = FetchId(self.fetching.last_id);
        self.fetching.open.insert(id, purpose);
        self.counters.cold_fetches += 1;
        effects.fetches.push(Fetch { id, first, last, max_bytes });
    }

    /// The store has answered.
    pub(super) fn on_fetched(
        &mut self,
        fetch: FetchId,
        result: Result<Vec<Entry>, LogError>,
        effects: &mut Effects<C>,
    ) {
        match self.fetching.open.remove(&fetch) {
            Some(Purpose::Apply) => self.on_fetched_to_apply(result, effects),
            Some(Purpose::Send { to, message, send }) => match result {
                Ok(entries) => self.send_fetched(to, message, send, entries, effects),
                Err(error) => self.on_fetch_failed(to, send, error, effects),
            },
            None => {}
        }
    }

    /// Sends entries that the core named, or as many as fit.
    pub(super) fn send_entries(
        &mut self,
        to: NodeId,
        message: Message,
        send: SendId,
        effects: &mut Effects<C>,
    ) {
        let span = message.span().expect("an append has a span");
        let (first, last, max_bytes) = (span.first(), span.last(), self.limits.append_bytes);
        let Some(upto) = self.tail.fitting(first, last, max_bytes) else {
            let purpose = Purpose::Send { to, message, send };
            return self.fetch(purpose, first, last, max_bytes, effects);
        };
        let entries = self.tail.read(first, upto);
        let stands = run_into_span(&entries[0], &entries[entries.len() - 1], span);
        self.send_found(to, message, send, entries, stands, effects);
    }

    /// Entries for a peer came from the store.
    fn send_fetched(
        &mut self,
        to: NodeId,
        message: Message,
        send: SendId,
        entries: Vec<Entry>,
        effects: &mut Effects<C>,
    ) {
        let span = message.span().expect("an append has a span");
        let stands = !entries.is_empty() && begin_span(&entries, span);
        self.send_found(to, message, send, entries.into(), stands, effects);
    }

    /// Sends entries if they are those of the message.
    fn send_found(
        &mut self,
        to: NodeId,
        mut message: Message,
        send: SendId,
        entries: Entries,
        stands: bool,
        effects: &mut Effects<C>,
    ) {
        let Body::Append { span, .. } = &mut message.body else { return };
        let stands = stands || planted!(self, RewrittenEntriesSent);
        let (true, Some(last)) = (stands, entries.last()) else {
            return self.queue(Input::NotSent { to, send, why: NotSent::Rewritten });
        };
        let upto = last.id.index;
        let bytes = entries.bytes();
        if upto < span.last() {
            *span = span.up_to(upto);
        }
        self.send(to, Content::Raft { message, entries }, effects);
        self.queue(Input::Sent { to, send, upto, bytes });
    }

    fn on_fetch_failed(
        &mut self,
        to: NodeId,
        send: SendId,
        error: LogError,
        effects: &mut Effects<C>,
    ) {
        let why = match error.kind {
            LogErrorKind::Compacted { .. } => NotSent::Compacted,
            LogErrorKind::Unavailable { .. } => NotSent::Rewritten,
            _ => return self.stop(StopReason::Store(error), effects),
        };
        self.step(Input::NotSent { to, send, why }, effects);
    }
}
