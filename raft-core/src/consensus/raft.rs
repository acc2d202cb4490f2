//! One member's protocol state, and the changes of role.
//!
//! [`Raft::step`](Raft::step) (in [`step`](super::step)) is the only way to change this state.
//! Promises to peers are withheld here until the writes that they depend on are durable (law L6):
//!
//! | waits until durable | does not wait |
//! |---|---|
//! | a vote request (own term and vote), a granted vote, counting the own vote | pre-votes |
//! | an acknowledged append, a leader's own match index | replication, heartbeats |
//! | any other message that shows a term not yet durable | refusals within a durable term |
//! | applying: never beyond min(commit index, own durable index) | |

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::config::Config;
use super::log_view::LogView;
use super::message::{Body, Message};
use super::output::{Appended, Output, Removal, SoftState, Source, Write, WriteSeq};
use super::planted::planted;
use super::progress::Pace;
use super::refusal::Refusal;
use super::role::{Follower, Role};
use super::time::Time;
use super::writes::Writes;
use crate::types::{EntryId, HardState, LogIndex, LogSpan, Membership, NodeId, Term, TermRun};

/// One member of a cluster: the protocol as a function from inputs to outputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    pub(super) config: Config,
    /// Term and vote, as issued to the disk.
    pub(super) hard_state: HardState,
    /// The write that carried the current term and vote.
    pub(super) hard_state_seq: WriteSeq,
    pub(super) log: LogView,
    pub(super) writes: Writes,
    /// The last index known to be committed.
    pub(super) commit: LogIndex,
    /// The last index released for applying.
    pub(super) applicable: LogIndex,
    pub(super) role: Role,
    /// Ticks since the election timer was last reset, and the tick at which it fires.
    pub(super) election_elapsed: u32,
    pub(super) election_timeout: u32,
    /// What the clock showed when it was last read.
    pub(super) now: Time,
    /// When a leader of this term was last heard, if one was.
    pub(super) leader_heard: Option<Time>,
    /// When this member last heard its leader's commit index from a log that equals its own, and
    /// that index.
    pub(super) heard_commit: Option<(Time, LogIndex)>,
    /// When a leader of any term was last heard, or when this member started, if it takes part in
    /// leases.
    pub(super) bound_since: Option<Time>,
    /// The state of the random number generator.
    pub(super) rng: u64,
    /// The name of the last send.
    pub(super) sends: u64,
    /// Messages that wait for a write.
    withheld: Vec<Withheld>,
    /// What this step writes; issued as one write at its end.
    draft: Draft,
}

/// The recovered state of a store, from which a member starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Term and vote.
    pub hard_state: HardState,
    /// The last purged entry.
    pub boundary: EntryId,
    /// The last entry's index.
    pub last: LogIndex,
    /// Where the terms of the entries change.
    pub term_runs: Vec<TermRun>,
    /// The membership in force at the boundary, as recorded in the snapshot that ends there.
    pub base: Option<Arc<Membership>>,
    /// The memberships in the log.
    pub memberships: Vec<(LogIndex, Arc<Membership>)>,
    /// An index known to be committed: the greatest of hint, applied and boundary.
    pub commit: LogIndex,
    /// The last index that was applied before.
    pub applied: LogIndex,
    /// What the member's clock shows.
    pub now: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Withheld {
    seq: WriteSeq,
    to: NodeId,
    message: Message,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Draft {
    hard_state: bool,
    removal: Option<Removal>,
    append: Option<Appended>,
}

impl Draft {
    fn is_empty(&self) -> bool {
        !self.hard_state && self.removal.is_none() && self.append.is_none()
    }
}

impl Raft {
    /// Creates a member that starts as a follower from the recovered state of its store.
    ///
    /// Panics if `config` does not pass [`Config::check`], or if the recovered state is not sound:
    /// the caller must check both first.
    pub fn new(config: Config, start: Start) -> Raft {
        config.check().expect("a checked configuration");
        assert!(start.commit <= start.last, "L9: commit {} of {}", start.commit, start.last);
        // The seed is mixed with the id: members with the same seed would otherwise draw from one
        // sequence, a few numbers apart, and could time out together for ever.
        let rng = scramble(config.seed ^ scramble(config.id.get()));
        let Start { boundary, last, term_runs, base, memberships, .. } = start;
        let mut raft = Raft {
            hard_state: start.hard_state,
            hard_state_seq: WriteSeq(0),
            log: LogView::new(boundary, last, term_runs, base, memberships),
            writes: Writes::new(last),
            commit: start.commit,
            applicable: start.applied,
            role: Role::Follower(Follower::default()),
            election_elapsed: 0,
            election_timeout: 0,
            now: start.now,
            leader_heard: None,
            heard_commit: None,
            bound_since: None,
            rng,
            sends: 0,
            withheld: Vec::new(),
            draft: Draft::default(),
            config,
        };
        raft.reset_election_timer();
        // The member may have been bound by a promise before it restarted.
        if raft.config.lease_drift.is_some() && !planted!(raft, RestartForgetsPromise) {
            raft.bound_since = Some(start.now);
        }
        raft
    }

    /// This member.
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// The current term.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// The last index known to be committed.
    pub fn commit(&self) -> LogIndex {
        self.commit
    }

    /// The member that this one follows, or this member itself if it leads.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(_) => Some(self.config.id),
            Role::Follower(follower) => follower.leader,
            Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// Role, term and leader.
    pub fn soft_state(&self) -> SoftState {
        SoftState { role: self.role.name(), term: self.term(), leader: self.leader() }
    }

    /// Whether this member leads.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The term of an entry, as issued to the disk; known from the boundary to the last entry.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.log.term(index)
    }

    /// The last entry of the log, as issued to the disk.
    pub fn last(&self) -> EntryId {
        self.log.last_id()
    }

    /// The last index that no peer still needs from this member. For a leader, it is the last index
    /// that all peers have acknowledged. A member that does not lead sends no entries, so there it
    /// is the commit index.
    pub fn stored_by_all(&self) -> LogIndex {
        match &self.role {
            Role::Leader(leader) => {
                let matched = leader.peers.values().map(|peer| peer.matched);
                matched.min().unwrap_or(self.commit)
            }
            _ => self.commit,
        }
    }

    /// The last index that a peer has acknowledged to this leader; none if this member does not
    /// lead or does not send to that node.
    pub fn matched(&self, node: NodeId) -> Option<LogIndex> {
        match &self.role {
            Role::Leader(leader) => leader.peers.get(&node).map(|peer| peer.matched),
            _ => None,
        }
    }

    /// The last purged entry.
    pub fn boundary(&self) -> EntryId {
        self.log.boundary()
    }

    /// The last index that none of the peers still needs. Peers that only a snapshot can help do
    /// not count, since no entries are sent to them.
    pub fn needed_after(&self) -> LogIndex {
        match &self.role {
            Role::Leader(leader) => {
                let sent = leader.peers.values().filter(|peer| peer.pace != Pace::Snapshot);
                sent.map(|peer| peer.matched).min().unwrap_or(self.commit)
            }
            _ => self.commit,
        }
    }

    // ---- changes of role ----

    /// Follows `leader`, or waits for one, in `term`, which is the current term or a later one.
    pub(super) fn become_follower(
        &mut self,
        term: Term,
        leader: Option<NodeId>,
        out: &mut Vec<Output>,
    ) {
        debug_assert!(term >= self.term(), "L8: terms never fall");
        self.refuse_reads(leader, out);
        if term > self.term() || planted!(self, VoteForgottenOnStepDown) {
            self.set_hard_state(HardState { term, vote: None });
        }
        if self.is_leader() {
            self.reset_election_timer();
        }
        self.leader_heard = None;
        if planted!(self, PromiseEndsWithTerm) {
            self.bound_since = None;
        }
        self.role = Role::Follower(Follower::of(leader));
        out.push(Output::Became(self.soft_state()));
    }

    /// Refuses the reads that wait for an answer from a leadership that is over.
    fn refuse_reads(&mut self, hint: Option<NodeId>, out: &mut Vec<Output>) {
        let refusal = Refusal::LeaderChanged { hint };
        let refuse = |read| Output::ReadRefused { read, refusal };
        match &mut self.role {
            Role::Follower(follower) => out.extend(follower.read.take().map(refuse)),
            Role::Leader(leader) => {
                let own = leader.reads.drain(..).filter(|waiting| waiting.origin.is_none());
                out.extend(own.map(|waiting| refuse(waiting.read)));
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    // ---- writes ----

    /// Changes term and vote, to be written with this step.
    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
        self.hard_state_seq = self.writes.next_seq();
        self.draft.hard_state = true;
    }

    /// Removes every entry after `index`, to be written with this step. Nothing committed is
    /// removed (L10).
    pub(super) fn truncate_log_after(&mut self, index: LogIndex) {
        let keeps = planted!(self, TruncatedMembershipKept);
        let kept = if keeps { self.log.membership().cloned() } else { None };
        self.log.truncate_after(index);
        if let Some(kept) = kept {
            self.log.note_membership(index, kept);
        }
        if !planted!(self, LateCompletionConfirmsRewritten) {
            self.writes.lower_to(index);
        }
        self.remove(Removal::TruncateAfter(index));
    }

    /// Appends entries, to be written with this step.
    pub(super) fn append_to_log(&mut self, span: LogSpan, source: Source) {
        debug_assert!(self.draft.append.is_none(), "a step appends once between two writes");
        self.log.append(&span);
        self.draft.append = Some(Appended { span, source });
    }

    /// Removes every entry up to `upto`, to be written with this step.
    pub(super) fn purge_log_upto(&mut self, upto: EntryId) {
        self.log.purge_upto(upto);
        self.remove(Removal::PurgeUpto(upto));
    }

    /// Replaces the log by a boundary, to be written with this step. Everything up to the boundary
    /// is already durable, in a snapshot.
    pub(super) fn reset_log_to(&mut self, boundary: EntryId, base: Arc<Membership>) {
        self.log = LogView::new(boundary, boundary.index, Vec::new(), Some(base), Vec::new());
        self.writes.lower_to(boundary.index);
        self.remove(Removal::Reset(boundary));
    }

    fn remove(&mut self, removal: Removal) {
        assert!(self.draft.removal.is_none(), "L6: a step removes entries once");
        assert!(self.draft.append.is_none(), "L6: a step removes entries before it appends");
        self.draft.removal = Some(removal);
    }

    /// Issues the drafted changes as one write.
    pub(super) fn issue_write(&mut self, out: &mut Vec<Output>) {
        if self.draft.is_empty() {
            return;
        }
        let draft = core::mem::take(&mut self.draft);
        let seq = self.writes.issue(self.log.last());
        out.push(Output::Write(Write {
            seq,
            hard_state: draft.hard_state.then_some(self.hard_state),
            removal: draft.removal,
            append: draft.append,
        }));
    }

    /// Whether the disk has completed no write for too long: then this member neither leads, nor
    /// campaigns, nor grants votes, until a write completes.
    pub(super) fn disk_is_stalled(&self) -> bool {
        self.writes.waited() >= self.config.stall_ticks
    }

    // ---- messages ----

    /// Whether the current term and vote are durable.
    pub fn hard_state_is_durable(&self) -> bool {
        self.writes.is_durable(self.hard_state_seq)
    }

    /// Sends at once. Only for a message that promises nothing, or whose promise is already
    /// durable.
    pub(super) fn send_now(&self, to: NodeId, body: Body, out: &mut Vec<Output>) {
        out.push(Output::Send { to, message: Message::new(self.term(), body) });
    }

    /// Sends as soon as the current term and vote are durable; drops the message if the term has
    /// passed by then.
    pub(super) fn send_when_durable(&mut self, to: NodeId, body: Body, out: &mut Vec<Output>) {
        if self.hard_state_is_durable() {
            return self.send_now(to, body, out);
        }
        let message = Message::new(self.term(), body);
        // Repeated requests of peers must not accumulate while the disk is slow: a newer answer of
        // a kind replaces the older one.
        self.withheld.retain(|held| held.to != to || !replaces(&message.body, &held.message.body));
        self.withheld.push(Withheld { seq: self.hard_state_seq, to, message });
    }

    /// Sends the messages whose write is durable now, and drops those of a term that has passed.
    pub(super) fn release_withheld(&mut self, out: &mut Vec<Output>) {
        let term = self.term();
        for held in core::mem::take(&mut self.withheld) {
            if held.message.term != term {
                continue;
            }
            if self.writes.is_durable(held.seq) {
                out.push(Output::Send { to: held.to, message: held.message });
            } else {
                self.withheld.push(held);
            }
        }
    }

    // ---- randomness ----

    /// Restarts the election timer with a new random timeout (section 5.2).
    pub(super) fn reset_election_timer(&mut self) {
        self.election_elapsed = 0;
        let min = self.config.election_ticks_min;
        let max = self.config.election_ticks_max;
        let spread = u64::from(max - min) + 1;
        self.election_timeout = min + (self.draw() % spread) as u32;
    }

    /// The next number of a SplitMix64 sequence (Steele, Lea, Flood: Fast splittable pseudorandom
    /// number generators, 2014).
    fn draw(&mut self) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.rng)
    }
}

/// Whether a message makes an older one to the same member unnecessary, because both are of the
/// same kind.
fn replaces(newer: &Body, older: &Body) -> bool {
    core::mem::discriminant(newer) == core::mem::discriminant(older)
}

/// SplitMix64's mixing function: numbers that differ little become numbers that differ much.
fn scramble(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
