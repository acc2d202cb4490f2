//! Entries for peers and for the state machine, from memory if they are there, else from the store.
//!
//! The log may be rewritten after entries were named and before they are read. So the entries that
//! were read are compared with those that were named, id by id, and a difference drops the send; no
//! message ever mixes two logs.
//!
//! A leader asks the store only for entries that the store has written: the others are in memory,
//! and are part of a later send. A read that fails for a reason that may be temporary is tried
//! again, after a pause that doubles from one tick, up to [`Limits::read_attempts`](super::Limits)
//! times; then the member stops.

use std::collections::BTreeMap;

use raft_core::consensus::{Body, Input, Message, NotSent, SendId};
use raft_core::storage::{LogError, LogErrorKind};
use raft_core::types::{Entry, LogIndex, NodeId};

use super::effects::{Effects, Fetch};
use super::event::{Clients, FetchId};
use super::planted::planted;
use super::tail_cache::{begin_span, run_into_span};
use super::{Pump, StopReason};
use crate::{Content, Entries};

/// Questions to the store that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    last_id: u64,
    open: BTreeMap<FetchId, Question>,
    /// Questions that failed, with the ticks at which they are asked again.
    retries: Vec<(u64, Question)>,
}

/// A range of entries to be read, and its purpose.
#[derive(Debug)]
pub(super) struct Question {
    purpose: Purpose,
    first: LogIndex,
    last: LogIndex,
    max_bytes: u64,
    /// How often the question was asked.
    attempts: u32,
}

/// The pause before a question is asked again doubles this often at most: to 128 ticks.
const MOST_DOUBLINGS: u32 = 7;

/// The use of fetched entries.
#[derive(Debug)]
pub(super) enum Purpose {
    Apply,
    Send { to: NodeId, message: Message, send: SendId },
}

impl Fetching {
    /// The state machine needs other entries than those that are being read for it.
    pub(super) fn forget_apply(&mut self) {
        self.open.retain(|_, question| !matches!(question.purpose, Purpose::Apply));
        self.retries.retain(|(_, question)| !matches!(question.purpose, Purpose::Apply));
    }
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
        self.ask(Question { purpose, first, last, max_bytes, attempts: 0 }, effects);
    }

    fn ask(&mut self, mut question: Question, effects: &mut Effects<C>) {
        question.attempts += 1;
        self.fetching.last_id += 1;
        let id = FetchId(self.fetching.last_id);
        self.counters.cold_fetches += 1;
        let Question { first, last, max_bytes, .. } = question;
        effects.fetches.push(Fetch { id, first, last, max_bytes });
        self.fetching.open.insert(id, question);
    }

    /// The store has answered.
    pub(super) fn on_fetched(
        &mut self,
        fetch: FetchId,
        result: Result<Vec<Entry>, LogError>,
        effects: &mut Effects<C>,
    ) {
        let Some(question) = self.fetching.open.remove(&fetch) else { return };
        match result {
            Err(error) if error.kind == LogErrorKind::Io => {
                self.ask_again_later(question, error, effects);
            }
            result => match question.purpose {
                Purpose::Apply => self.on_fetched_to_apply(result, effects),
                Purpose::Send { to, message, send } => match result {
                    Ok(entries) => {
                        self.send_fetched(to, message, send, entries, effects);
                        self.carry_out_queued(effects);
                    }
                    Err(error) => self.on_fetch_failed(to, send, error, effects),
                },
            },
        }
    }

    fn ask_again_later(&mut self, question: Question, error: LogError, effects: &mut Effects<C>) {
        self.counters.failed_fetches += 1;
        if planted!(self, FailedFetchForgotten) {
            return;
        }
        if question.attempts >= self.limits.read_attempts {
            return self.stop(StopReason::Store(error), effects);
        }
        let pause = 1 << (question.attempts - 1).min(MOST_DOUBLINGS);
        self.fetching.retries.push((self.now + pause, question));
    }

    /// Asks failed questions again, if their pause is over and the answer is still wanted.
    pub(super) fn retry_fetches(&mut self, effects: &mut Effects<C>) {
        let now = self.now;
        let due = self.fetching.retries.extract_if(.., |(at, _)| *at <= now);
        for (_, question) in due.collect::<Vec<_>>() {
            if self.is_wanted(&question.purpose) {
                self.ask(question, effects);
            }
        }
    }

    /// A send is valid only in the leadership that issued it.
    fn is_wanted(&self, purpose: &Purpose) -> bool {
        match purpose {
            Purpose::Apply => true,
            Purpose::Send { message, .. } => {
                self.raft.is_leader() && self.raft.term() == message.term
            }
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
        let first = span.first();
        let last = span.last();
        let max_bytes = self.limits.append_bytes;
        let Some(upto) = self.tail.fitting(first, last, max_bytes) else {
            // The store would refuse a range that it has not written to its end. The first entry
            // has been written; otherwise it would be in memory.
            let written = self.writes.written();
            let last = if planted!(self, UnwrittenFetched) { last } else { last.min(written) };
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

    /// Sends entries if they are those of the message. The core's resulting outputs are queued.
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
