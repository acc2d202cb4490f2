//! What a restarting member must know of its store.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::record::{Unreadable, decode_membership};
use super::{LogBounds, LogError, LogOp, LogReader};
use crate::types::{Entry, EntryKind, HardState, LogIndex, Membership, TermRun};

/// How much payload a scan of the whole log reads at once, in bytes.
const SCAN_BYTES: u64 = 1 << 20;

/// The state of a store after it was opened. All of it is durable (P2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where the log begins and ends.
    pub bounds: LogBounds,
    /// Term and vote.
    pub hard_state: HardState,
    /// Where the terms of the entries change, in order; the first run starts at the first entry.
    pub term_runs: Vec<TermRun>,
    /// The memberships in the log, in order.
    pub memberships: Vec<(LogIndex, Membership)>,
    /// An index that was known to be committed; a store may forget it. Never beyond the last entry.
    pub commit_hint: LogIndex,
    /// What was found at the end of the log.
    pub tail: Tail,
}

/// What was found at the end of the log when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tail {
    /// Nothing but whole batches.
    Clean,
    /// A write that had not been acknowledged was cut short, and was dropped.
    TornDiscarded {
        /// Where, for people.
        place: String,
    },
}

impl Recovered {
    /// What is told where nothing of a log can be read but its hard state.
    pub fn nothing_but(hard_state: HardState) -> Recovered {
        Recovered {
            bounds: LogBounds::default(),
            hard_state,
            term_runs: Vec::new(),
            memberships: Vec::new(),
            commit_hint: LogIndex::ZERO,
            tail: Tail::Clean,
        }
    }

    /// Decodes the memberships of a log from the payloads of their entries, and lowers the hint to
    /// the last entry. An error names the entry whose payload is no membership.
    pub fn with_memberships<'a>(
        self,
        payloads: impl IntoIterator<Item = (LogIndex, &'a Bytes)>,
    ) -> Result<Recovered, LogError> {
        let decode = |(index, payload): (LogIndex, &Bytes)| {
            Ok((index, membership_of(LogOp::Open, index, payload)?))
        };
        let memberships = payloads.into_iter().map(decode).collect::<Result<_, LogError>>()?;
        let commit_hint = self.commit_hint.min(self.bounds.last.index);
        Ok(Recovered { memberships, commit_hint, ..self })
    }
}

fn membership_of(op: LogOp, index: LogIndex, payload: &[u8]) -> Result<Membership, LogError> {
    decode_membership(payload).map_err(|error| {
        let kind = Unreadable::from(error.clone()).kind(Some(index));
        LogError::new(op, kind).because(error)
    })
}

/// Reads a whole log once, and tells what it holds. It knows of no commit hint.
pub(super) async fn scan(
    log: &mut dyn LogReader,
    bounds: LogBounds,
    hard_state: HardState,
) -> Result<Recovered, LogError> {
    let mut scan = Scan::default();
    scan.run(log, bounds).await?;
    let Scan { term_runs, memberships } = scan;
    Ok(Recovered { bounds, term_runs, memberships, ..Recovered::nothing_but(hard_state) })
}

/// One pass over a log, which notes where terms change and which entries are memberships.
#[derive(Default)]
struct Scan {
    term_runs: Vec<TermRun>,
    memberships: Vec<(LogIndex, Membership)>,
}

impl Scan {
    async fn run(&mut self, log: &mut dyn LogReader, bounds: LogBounds) -> Result<(), LogError> {
        let (mut next, end) = (bounds.first(), bounds.last.index.next());
        while next < end {
            let entries = log.read(next..end, SCAN_BYTES).await?;
            if entries.is_empty() {
                // A store's bug (P10); without an error here it would be an endless loop.
                let cause = "a read of a range that is not empty returned no entry";
                return Err(LogError::io(LogOp::Read, cause));
            }
            for entry in &entries {
                self.note(entry)?;
            }
            next = next.plus(entries.len() as u64);
        }
        Ok(())
    }

    fn note(&mut self, entry: &Entry) -> Result<(), LogError> {
        let (index, term) = (entry.id.index, entry.id.term);
        if self.term_runs.last().is_none_or(|run| run.term != term) {
            self.term_runs.push(TermRun { first: index, term });
        }
        if entry.kind == EntryKind::Membership {
            let membership = membership_of(LogOp::Read, index, &entry.payload)?;
            self.memberships.push((index, membership));
        }
        Ok(())
    }
}
