//! Reads that clients ask for, by lease or weaker, and what is checked about them.
//!
//! A read by lease must be linearizable as long as the clocks run within the declared bound. If
//! they do not, it may be stale, and is left out of the history. A weaker read is left out of it,
//! too.

use raft_core::types::{LogIndex, NodeId, Term};
use raft_node::{Consistency, ReadError};

use super::World;
use crate::checks::{Check, Violation, hold};
use crate::sim::marks::Mark;
use crate::sim::member::Member;

impl World {
    /// Draws what the next read of a client may show.
    pub(super) fn draw_consistency(&mut self, client: u64) -> Consistency {
        let seen = self.seen.get(&client).copied().unwrap_or_default();
        self.workload.consistency(seen, self.plan.config.election_ticks_min)
    }

    /// A client has its answer to a read that includes no entry after `index`. Returns whether the
    /// read belongs to the linearizable history.
    pub(super) fn check_read(
        &mut self,
        number: u64,
        applied: LogIndex,
        index: LogIndex,
    ) -> Result<bool, Violation> {
        let client = self.operations.request(number).client;
        let seen = self.seen.entry(client).or_default();
        *seen = index.max(*seen);
        hold(applied <= index, Check::Order, || {
            format!("read {number} is said to include nothing after {index}, and shows {applied}")
        })?;
        match self.consistencies.remove(&number).unwrap_or_default() {
            Consistency::AtLeast { index: wanted } => {
                hold(applied >= wanted, Check::Order, || {
                    format!("read {number} shows {applied}, and was to show at least {wanted}")
                })?;
                Ok(false)
            }
            Consistency::Local { .. } => {
                self.marks.hit(Mark::LocalRead);
                Ok(false)
            }
            Consistency::Lease if !self.plan.leases.within_bound => Ok(false),
            _ => Ok(true),
        }
    }

    pub(super) fn mark_failed_read(&mut self, number: u64, error: &ReadError) {
        self.consistencies.remove(&number);
        self.marks.hit_if(matches!(error, ReadError::TooOld { .. }), Mark::ReadTooOld);
    }

    /// Marks what a turn did with leases.
    pub(super) fn mark_leases(&mut self, at: usize, before: LeaseView) {
        let now = self.lease_view(at);
        let same = before.leads && now.leads;
        self.marks.hit_if(same && before.holds && now.asks_for_election, Mark::LeaseDropped);
        self.marks.hit_if(same && before.had && now.had && !now.holds, Mark::LeaseExpired);
        if now.reads > before.reads {
            self.marks.hit(Mark::LeaseRead);
            let term = self.members[at].term();
            let later = self.members.iter().filter(|other| other.term() > term);
            self.marks.hit_if(later.count() > 0, Mark::LeaseReadBesideCandidate);
        }
    }

    pub(super) fn lease_view(&self, at: usize) -> LeaseView {
        let Some(pump) = &self.members[at].pump else { return LeaseView::default() };
        let raft = pump.raft();
        let until = raft.lease_until();
        LeaseView {
            leads: raft.is_leader(),
            had: until.is_some_and(|until| until.as_micros() > 0),
            holds: until.is_some_and(|until| raft.now() < until),
            asks_for_election: raft.transfer_target().is_some() && until.is_none(),
            reads: pump.counters().reads_by_lease,
        }
    }

    /// No member is elected in a later term than that of a leader whose lease holds, if the clocks
    /// run within the bound. In an earlier term one may be, by votes that were given long ago: it
    /// commits nothing.
    pub(super) fn check_no_lease(&self, elected: NodeId, term: Term) -> Result<(), Violation> {
        if !self.plan.leases.within_bound {
            return Ok(());
        }
        let is_earlier = |other: &&Member| other.id != elected && other.term() < term;
        for other in self.members.iter().filter(is_earlier) {
            let until = other.pump.as_ref().and_then(|pump| pump.raft().lease_until());
            let shown = other.clock_shows(self.now());
            hold(until.is_none_or(|until| until <= shown), Check::Lease, || {
                format!("{elected} is elected while the lease of {} holds", other.id)
            })?;
        }
        Ok(())
    }
}

/// What is seen of a member's lease before and after a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeaseView {
    leads: bool,
    /// Whether it has had a lease in this term.
    had: bool,
    holds: bool,
    /// Whether it has no lease any more because it hands over.
    asks_for_election: bool,
    /// The groups of reads that it has given an index by its lease.
    reads: u64,
}
