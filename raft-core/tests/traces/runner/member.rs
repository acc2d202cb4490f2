//! One member: a core, what is durable on its disk, and what its disk was asked to write.

use std::collections::VecDeque;
use std::sync::Arc;

use raft_core::consensus::{
    Appended, Config, Message, Raft, Removal, SendId, Source, Start, TICK_MICROS, Time, Write,
};
use raft_core::types::{EntryId, HardState, LogIndex, LogSpan, Membership, NodeId, Term, TermRun};

/// Memberships among entries, by value.
pub type Memberships = Vec<(LogIndex, Arc<Membership>)>;

/// A member, up or down.
pub struct Member {
    /// Its settings.
    pub config: Config,
    /// The core; none while the member is down.
    pub raft: Option<Raft>,
    /// What its clock shows, in microseconds.
    pub clock: u64,
    /// What is durable on the disk.
    pub disk: Image,
    /// What the disk will hold once everything it was asked to write is durable.
    pub issued: Image,
    /// Writes that are not durable yet.
    pub pending: VecDeque<(Write, Memberships)>,
    /// Whether sends with entries wait for a `fetch`.
    pub holds: bool,
    /// The sends that wait.
    pub held: VecDeque<HeldSend>,
}

/// A send whose entries were not fetched yet.
pub struct HeldSend {
    /// The receiver.
    pub to: NodeId,
    /// The append.
    pub message: Message,
    /// The send's name.
    pub send: SendId,
}

/// The contents of a store: ids and memberships; the traces need no payloads.
#[derive(Clone, Default)]
pub struct Image {
    /// Term and vote.
    pub hard_state: HardState,
    /// The last purged entry.
    pub boundary: EntryId,
    /// The last entry of the newest snapshot, and the membership there.
    pub snapshot: Option<(EntryId, Arc<Membership>)>,
    /// The membership at the boundary.
    pub base: Option<Arc<Membership>>,
    /// The terms of the entries after the boundary.
    pub terms: Vec<Term>,
    /// The memberships in the log.
    pub memberships: Memberships,
}

impl Member {
    /// A member that is down, with this on its disk.
    pub fn new(config: Config, disk: Image) -> Member {
        let pending = VecDeque::new();
        let held = VecDeque::new();
        let issued = disk.clone();
        Member { config, raft: None, clock: 0, disk, issued, pending, holds: false, held }
    }

    /// Starts from what is durable on the disk. A snapshot ahead of the log replaces the log.
    pub fn start(&mut self, commit: LogIndex, applied: LogIndex) {
        self.holds = false;
        self.disk.install();
        self.issued = self.disk.clone();
        let now = Time::from_micros(self.clock);
        let start = Start { now, ..self.disk.start(commit, applied) };
        self.raft = Some(Raft::new(self.config.clone(), start));
    }

    /// Stops at once. What the disk was asked to write and is not durable is lost, unless `kept` is
    /// true: then it became durable, but the core did not learn of it.
    pub fn crash(&mut self, kept: bool) {
        let pending = std::mem::take(&mut self.pending);
        if kept {
            pending.iter().for_each(|(write, memberships)| self.disk.apply(write, memberships));
        }
        self.issued = self.disk.clone();
        (self.raft, self.holds) = (None, false);
        self.held.clear();
    }

    /// Lets some ticks pass on its clock, and returns what the clock shows then.
    pub fn advance_clock(&mut self, ticks: u64) -> Time {
        self.clock += ticks * TICK_MICROS;
        Time::from_micros(self.clock)
    }

    /// Records a write that the core issued.
    pub fn issue(&mut self, write: Write, memberships: Memberships) {
        self.issued.apply(&write, &memberships);
        self.pending.push_back((write, memberships));
    }
}

impl Image {
    /// A log written as one digit for each entry: its term.
    pub fn with_log(mut self, digits: &str) -> Result<Image, String> {
        let digit = |c: char| c.to_digit(10).ok_or(format!("`{c}` is not a term"));
        self.terms = digits
            .chars()
            .map(|c| Ok(Term::new(digit(c)?.into())))
            .collect::<Result<Vec<_>, String>>()?;
        Ok(self)
    }

    /// The first index that neither the log's boundary nor a snapshot includes.
    pub fn first_of_log(&self) -> LogIndex {
        let snapshot = self.snapshot.as_ref().map_or(LogIndex::ZERO, |(last, _)| last.index);
        self.boundary.index.max(snapshot).next()
    }

    fn install(&mut self) {
        let Some((last, membership)) = self.snapshot.clone() else { return };
        if last.index <= self.boundary.index || self.term(last.index) == Some(last.term) {
            return;
        }
        (self.boundary, self.terms, self.memberships) = (last, Vec::new(), Vec::new());
        self.base = Some(membership);
        if last.term > self.hard_state.term {
            self.hard_state = HardState { term: last.term, vote: None };
        }
    }

    fn start(&self, commit: LogIndex, applied: LogIndex) -> Start {
        let mut term_runs: Vec<TermRun> = Vec::new();
        for (index, term) in (self.boundary.index.get() + 1..).zip(&self.terms) {
            if term_runs.last().is_none_or(|run| run.term != *term) {
                term_runs.push(TermRun { first: LogIndex::new(index), term: *term });
            }
        }
        let included = self.first_of_log().prev();
        Start {
            hard_state: self.hard_state,
            boundary: self.boundary,
            last: self.last(),
            term_runs,
            base: self.base.clone(),
            memberships: self.memberships.clone(),
            commit: commit.max(included),
            applied: applied.max(included),
            now: Time::ZERO,
        }
    }

    /// The last entry's index.
    pub fn last(&self) -> LogIndex {
        self.boundary.index.plus(self.terms.len() as u64)
    }

    /// The term of an entry, or of the boundary.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        match index.get().checked_sub(self.boundary.index.get())? {
            0 => Some(self.boundary.term),
            after => self.terms.get(after as usize - 1).copied(),
        }
    }

    /// The membership that an entry is, if it is one.
    pub fn membership(&self, index: LogIndex) -> Option<&Arc<Membership>> {
        self.memberships.iter().find(|(at, _)| *at == index).map(|(_, membership)| membership)
    }

    /// The memberships among some entries.
    pub fn memberships_in(&self, span: &LogSpan) -> Memberships {
        let inside = |at: LogIndex| span.first() <= at && at <= span.last();
        self.memberships.iter().filter(|(at, _)| inside(*at)).cloned().collect()
    }

    /// Whether the log has exactly these entries.
    pub fn holds(&self, span: &LogSpan) -> bool {
        let indexes = span.prev().index.get()..=span.last().get();
        indexes.map(LogIndex::new).all(|index| self.term(index) == span.term_at(index))
    }

    /// Whether the logs are equal where both have entries, and end at the same one.
    pub fn equals(&self, other: &Image) -> bool {
        let first = self.boundary.index.max(other.boundary.index).get();
        let same = |index| self.term(index) == other.term(index);
        self.last() == other.last() && (first..=self.last().get()).map(LogIndex::new).all(same)
    }

    /// Applies a write, as a store would: a hole or a falling term is a bug of the core.
    pub fn apply(&mut self, write: &Write, memberships: &Memberships) {
        if let Some(hard_state) = write.hard_state {
            let allowed = self.hard_state.may_become(hard_state);
            assert!(allowed, "L7: {} overwritten by {hard_state}", self.hard_state);
            self.hard_state = hard_state;
        }
        match write.removal {
            Some(Removal::Reset(boundary)) => {
                (self.boundary, self.terms, self.memberships) = (boundary, Vec::new(), Vec::new());
                let installed = self.snapshot.iter().find(|(last, _)| *last == boundary);
                self.base = installed.map(|(_, membership)| Arc::clone(membership));
            }
            Some(Removal::TruncateAfter(index)) => {
                self.terms.truncate(index.since(self.boundary.index) as usize);
                self.memberships.retain(|(at, _)| *at <= index);
            }
            Some(Removal::PurgeUpto(upto)) => self.purge(upto),
            None => {}
        }
        if let Some(appended) = &write.append {
            self.append(appended, memberships);
        }
    }

    fn purge(&mut self, upto: EntryId) {
        assert_eq!(self.term(upto.index), Some(upto.term), "P5: a purge beyond the log");
        self.terms.drain(..upto.index.since(self.boundary.index) as usize);
        let after = self.memberships.partition_point(|(at, _)| *at <= upto.index);
        if let Some((_, newest)) = self.memberships.drain(..after).next_back() {
            self.base = Some(newest);
        }
        self.boundary = upto;
    }

    fn append(&mut self, appended: &Appended, memberships: &Memberships) {
        let span = &appended.span;
        assert_eq!(span.prev().index, self.last(), "P5: an append leaves a hole");
        assert_eq!(self.term(self.last()), Some(span.prev().term), "L3: appended to another log");
        let indexes = span.first().get()..=span.last().get();
        self.terms.extend(indexes.filter_map(|index| span.term_at(LogIndex::new(index))));
        match &appended.source {
            Source::Membership(own) => self.memberships.push((span.last(), own.clone())),
            Source::Append => {
                let inside = |at: LogIndex| span.first() <= at && at <= span.last();
                self.memberships.extend(memberships.iter().filter(|(at, _)| inside(*at)).cloned());
            }
            Source::Noop | Source::Proposals => {}
        }
    }
}
