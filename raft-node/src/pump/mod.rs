//! The pump: one member's protocol, and everything around it that needs no thread.
//!
//! [`Pump::turn`] takes events, steps the core, carries out the core's outputs, and leaves effects
//! for its driver. It never blocks and never awaits, so one turn can handle everything that arrived
//! since the last: proposals of all clients become one append, writes are merged into one, and each
//! peer gets its entries in one message. The simulator runs the same code.
//!
//! ```text
//!   events --> take each --> step the core --> carry out its outputs --> settle --> effects
//!                               ^                     |
//!                               +------ sent, read ---+
//! ```
//!
//! | file | what is in it |
//! |---|---|
//! | `event`, `effects`, `stop` | what goes in, what comes out, and why a member stops |
//! | `carry_out` | the core's outputs, one by one |
//! | `turn_proposals` | the proposals of one turn, and their clients |
//! | `proposals`, `forwarding`, `reads` | clients that wait |
//! | `group_commit` | writes, merged |
//! | `tail_cache`, `fetching` | entries for peers and the state machine, from memory or the store |
//! | `snapshotting`, `purging` | when a snapshot is taken, and how far the log is purged then |
//! | `snapshot_sending`, `snapshot_receiving` | snapshots for peers that no entries can help |
//! | `changing`, `change` | a change of the membership, and what its client learns |
//! | `session_requests`, `session_entries` | client sessions: requests, and entries |
//! | `announced` | what the programs of the peers can read |
//! | `level` | the feature level of the cluster |
//! | `removal` | how a member learns that it was removed, and stops |
//! | `applying` | committed entries on their way to the state machine |

mod announced;
mod applying;
mod carry_out;
mod change;
mod changing;
mod counters;
mod effects;
mod event;
mod fetching;
mod forwarding;
mod group_commit;
mod level;
mod limits;
mod planted;
mod proposals;
mod purging;
mod reads;
mod removal;
mod session_entries;
mod session_requests;
mod snapshot_receiving;
mod snapshot_sending;
mod snapshotting;
mod stop;
mod tail_cache;
#[cfg(test)]
mod tests;
mod turn_proposals;

use bytes::Bytes;
use raft_core::consensus::{Config, Input, Output, Raft, Start, Status, Time};
use raft_core::storage::record::NEWEST_MEMBERSHIP_VERSION;
use raft_core::types::{EntryId, Identity, LogIndex, NodeId};

use self::announced::{Announced, Announcement};
use self::applying::Applying;
pub use self::change::{CatchingUp, ChangeError, ChangeProgress, ChangeStage};
use self::changing::Change;
pub use self::counters::Counters;
pub use self::effects::{
    ApplyBatch, Claim, Effects, Failed, Fetch, Settled, SnapshotPlan, TransferWork,
};
pub use self::event::{Clients, Event, FetchId, ReceivedSnapshot, TakenSnapshot, TransferError};
use self::fetching::Fetching;
use self::forwarding::Forwarding;
use self::group_commit::{GroupCommit, Started};
use self::level::Level;
pub use self::limits::{Limits, LimitsError, MAX_ENVELOPE_BYTES, MAX_ENVELOPE_ENTRIES};
#[cfg(feature = "mutants")]
pub use self::planted::PumpBug;
use self::planted::planted;
use self::proposals::Proposals;
use self::purging::LogSize;
use self::reads::Reads;
use self::removal::Removal;
use self::session_entries::{LogClock, SessionBatch};
use self::session_requests::SessionRequests;
use self::snapshot_receiving::Receiving;
use self::snapshot_sending::Sending;
use self::snapshotting::Snapshotting;
pub use self::stop::StopReason;
use self::tail_cache::TailCache;
use self::turn_proposals::TurnProposals;
use crate::{
    Content, EngineState, Entries, Envelope, ForwardAnswer, ProposeError, ReadError, SessionError,
    SnapshotError,
};

/// One member's protocol, and everything around it that needs no thread.
#[derive(Debug)]
pub struct Pump<C: Clients> {
    raft: Raft,
    identity: Identity,
    limits: Limits,
    /// Ticks since the start.
    now: u64,
    /// The longest election timeout, in ticks.
    election_ticks: u64,
    tail: TailCache,
    writes: GroupCommit,
    proposals: Proposals<C>,
    forwarding: Forwarding<C>,
    reads: Reads<C>,
    fetching: Fetching,
    applying: Applying,
    snapshots: Snapshotting<C>,
    sending: Sending,
    log_size: LogSize,
    receiving: Receiving,
    counters: Counters,
    /// The newest version of the record of a membership that this program reads.
    reads_memberships: u8,
    announced: Announced,
    /// The engine's state after the entries that were given to the state machine.
    engine: EngineState,
    level: Level,
    sessions: SessionRequests<C>,
    session_batch: SessionBatch,
    log_clock: LogClock,
    changing: Option<Change<C>>,
    removal: Removal,
    ended: bool,
    /// The proposals of this turn.
    proposed: TurnProposals<C>,
    /// The payloads that the core's next outputs may name.
    payloads: Payloads,
    /// The core's outputs of one step, and of the steps that followed from carrying them out.
    todo: Vec<Output>,
    /// The second list for outputs, empty but with its memory kept.
    spare: Vec<Output>,
    /// A planted bug to run with, which a test must find.
    #[cfg(feature = "mutants")]
    planted: Option<PumpBug>,
}

/// Payload bytes of the input that is being stepped.
#[derive(Debug, Default)]
struct Payloads {
    proposals: Vec<Bytes>,
    append: Entries,
}

impl<C: Clients> Pump<C> {
    /// A member's pump. `start_number` is random, so that no other start of this member has it.
    pub fn new(
        identity: Identity,
        config: Config,
        limits: Limits,
        start: Start,
        start_number: u64,
    ) -> Pump<C> {
        let last = start.last;
        let applied = start.applied;
        let election_ticks = config.election_ticks_max.into();
        Pump {
            raft: Raft::new(config, start),
            identity,
            now: 0,
            election_ticks,
            tail: TailCache::new(limits.tail_bytes),
            writes: GroupCommit::new(last, limits.batch_bytes),
            proposals: Proposals::new(),
            forwarding: Forwarding::new(start_number),
            reads: Reads::new(start_number),
            fetching: Fetching::default(),
            applying: Applying::new(applied),
            snapshots: Snapshotting::off(),
            sending: Sending::default(),
            log_size: LogSize::new(limits.held_back_bytes),
            receiving: Receiving::default(),
            counters: Counters::default(),
            reads_memberships: NEWEST_MEMBERSHIP_VERSION,
            announced: Announced::default(),
            engine: EngineState::default(),
            level: Level::default(),
            sessions: SessionRequests::new(),
            session_batch: SessionBatch::default(),
            log_clock: LogClock::default(),
            changing: None,
            removal: Removal::default(),
            ended: false,
            proposed: TurnProposals::new(),
            payloads: Payloads::default(),
            todo: Vec::new(),
            spare: Vec::new(),
            #[cfg(feature = "mutants")]
            planted: None,
            limits,
        }
    }

    /// Handles all events, and leaves the work to be done in `effects`. `now` is what the clock
    /// showed after the events had arrived: a read among them may be answered from what holds then.
    pub fn turn(&mut self, now: Time, events: &mut Vec<Event<C>>, effects: &mut Effects<C>) {
        self.counters.turns += 1;
        if !self.ended {
            self.step(Input::Clock { now }, effects);
        }
        for event in events.drain(..) {
            self.take(event, effects);
        }
        if !self.ended {
            self.settle(effects);
        }
        self.note_former_membership();
    }

    /// Reads only memberships up to this version of their record, as an older program does; for
    /// tests of clusters whose members run different programs.
    pub fn read_memberships_up_to(&mut self, version: u8) {
        self.reads_memberships = version;
    }

    /// Starts from this state of the engine, that after the last entry that was applied before, and
    /// with a state machine that has applied everything up to `machine_has` already: of the entries
    /// up to there, only those of the engine are applied.
    pub fn resume(&mut self, engine: EngineState, machine_has: LogIndex) {
        self.engine = engine;
        self.applying.resume(machine_has);
    }

    /// The engine's state after the entries that were given to the state machine.
    pub fn engine(&self) -> &EngineState {
        &self.engine
    }

    /// Runs with a bug from now on.
    #[cfg(feature = "mutants")]
    pub fn plant(&mut self, bug: PumpBug) {
        self.planted = Some(bug);
    }

    /// The protocol's state, for operators.
    pub fn status(&self) -> Status {
        self.raft.status()
    }

    /// The last entry that the state machine has applied.
    pub fn applied(&self) -> LogIndex {
        self.applying.applied()
    }

    /// How many ticks have passed since the start.
    pub fn ticks(&self) -> u64 {
        self.now
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Payload bytes that the store does not have yet.
    pub fn unwritten_bytes(&self) -> u64 {
        self.writes.unwritten_bytes()
    }

    /// Payload bytes of recent entries in memory.
    pub fn tail_bytes(&self) -> u64 {
        self.tail.bytes()
    }

    /// Whether no request waits here.
    pub fn is_idle(&self) -> bool {
        let waits = !self.reads.is_empty() || self.holds_proposals() || !self.sessions.is_empty();
        self.proposals.is_empty() && !waits
    }

    /// The number of the write during which proposals should gather: this member leads, and its
    /// disk is writing. If its peers got them now, they would sync them in two parts, as this disk
    /// would.
    pub fn gathers_during(&self) -> Option<u64> {
        let gathers = !self.ended && self.raft.is_leader() && self.writes.is_busy();
        gathers.then_some(self.counters.writes)
    }

    /// The protocol's state, for the laws.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Whether the member has stopped or was closed.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn take(&mut self, event: Event<C>, effects: &mut Effects<C>) {
        if self.ended {
            return refuse_after_end(event, effects);
        }
        match event {
            Event::Tick => self.on_tick(effects),
            Event::Propose { commands, group } => self.on_propose(commands, group, effects),
            Event::Session { request, client } => {
                self.on_session_request(&request, client, effects);
            }
            Event::Read { consistency, group } => self.on_read(consistency, group, effects),
            Event::Transfer { to } => {
                self.step(Input::Transfer { to }, effects);
                self.note_transfer();
            }
            Event::ChangeMembership { from, target, client } => {
                self.on_change_wanted(from.as_deref(), target, client, effects);
            }
            Event::CancelChange => self.on_cancel_change(effects),
            Event::StepMembership { target } => self.on_step(&target, effects),
            Event::Announced { node, store, version } => {
                let membership = self.raft.membership().map(|now| &**now);
                self.announced.add(node, Announcement { store, version }, membership);
            }
            Event::Deliver { from, envelope } => self.on_envelope(from, envelope, effects),
            Event::Written(Ok(())) => {
                let seq = self.writes.finish();
                self.step(Input::Durable { seq }, effects);
            }
            Event::Written(Err(error)) => self.stop(StopReason::Store(error), effects),
            Event::Fetched { fetch, result } => self.on_fetched(fetch, result, effects),
            Event::Applied { recorded } => self.on_applied(&recorded, effects),
            Event::TakeSnapshot { client } => self.on_snapshot_wanted(client, effects),
            Event::Snapshotted(result) => self.on_snapshotted(result, effects),
            Event::ChunkRead { to, id, offset, result } => {
                self.on_chunk_read(to, id, offset, result, effects);
            }
            Event::Spooled { number, result } => self.on_spooled(number, result, effects),
            Event::Kept(result) => self.on_kept(result, effects),
            Event::Restored => self.on_restored(effects),
            Event::ForwardNotSent { to, start, sequence } => {
                let forward = ForwardAnswer { start, sequence, appended: None };
                self.on_forward_not_sent(to, &forward, effects);
            }
            Event::Removed { by } => self.on_removed(by, effects),
            Event::Stop(reason) => self.stop(reason, effects),
            Event::Close => self.end(effects),
        }
    }

    fn on_tick(&mut self, effects: &mut Effects<C>) {
        self.now += 1;
        self.step(Input::Tick { now: self.raft.now() }, effects);
        let raft = &self.raft;
        let stands = |id: EntryId| raft.term_at(id.index) == Some(id.term);
        self.proposals.expire(self.now, stands, effects);
        self.expire_forwards(effects);
        self.proposed.expire(self.now, &mut effects.failed);
        if !self.reads.is_empty() {
            self.reads.expire(self.now, &mut effects.failed_reads);
        }
        self.retry_fetches(effects);
        self.tick_snapshots(effects);
        self.tick_removal(effects);
        self.raise_level_if_due();
        self.tick_sessions(effects);
    }

    /// Takes the steps of snapshots that depend on time. Nothing is due for a member that takes
    /// none.
    fn tick_snapshots(&mut self, effects: &mut Effects<C>) {
        if self.snapshots.is_on() {
            self.tick_sending(effects);
            self.tick_receiving(effects);
            self.tick_purging(effects);
        }
    }

    // ---- what comes in ----

    fn on_envelope(&mut self, from: NodeId, envelope: Envelope, effects: &mut Effects<C>) {
        self.counters.delivered += 1;
        if envelope.cluster != self.identity.cluster {
            self.counters.malformed += 1;
            return;
        }
        match envelope.content {
            Content::Raft { message, entries } => self.on_raft(from, message, entries, effects),
            Content::Forward(forward) => self.on_forward(from, forward, effects),
            Content::ForwardAnswer(answer) => self.on_forward_answer(from, &answer, effects),
            Content::SessionForward(requests) => self.on_session_forward(from, requests),
            Content::Snapshot(message) => self.on_snapshot_message(from, message, effects),
        }
    }

    // ---- the end of a turn ----

    fn settle(&mut self, effects: &mut Effects<C>) {
        self.advance_change(effects);
        self.take_held_proposals(effects);
        self.submit_session_requests(effects);
        self.propose_turn(effects);
        #[cfg(feature = "mutants")]
        if planted!(self, ReadsJoinOpenQuestion) {
            self.reads.join_open_question();
        }
        self.ask_about_reads(effects);
        self.apply_more(effects);
        let applied = if planted!(self, ReadServedBeforeApplied) {
            LogIndex::new(u64::MAX)
        } else {
            self.applying.applied()
        };
        if !self.applying.is_restoring() {
            self.reads.serve(applied, self.applying.claimed(), &mut effects.served);
        }
        self.write_more(effects);
    }

    fn write_more(&mut self, effects: &mut Effects<C>) {
        let Some(Started { mut batch, bytes, end }) = self.writes.start() else { return };
        let commit = self.raft.commit();
        batch.commit_hint =
            Some(if planted!(self, HintBeyondBatch) { commit } else { commit.min(end) });
        self.counters.writes += 1;
        self.counters.entries_written += batch.append.len() as u64;
        self.counters.bytes_written += bytes;
        effects.write = Some(batch);
    }

    // ---- the end of the member ----

    /// Ends the member for a reason. Only the first reason is reported.
    fn stop(&mut self, reason: StopReason, effects: &mut Effects<C>) {
        if !self.ended {
            effects.stop = Some(reason);
            self.end(effects);
        }
    }

    fn end(&mut self, effects: &mut Effects<C>) {
        self.ended = true;
        self.proposed.abandon(&mut effects.failed);
        if !planted!(self, WaitingForgottenAtEnd) {
            self.proposals.abandon(effects);
        }
        self.forwarding.abandon(&mut effects.failed);
        self.sessions.abandon(effects);
        self.reads.abandon(&mut effects.failed_reads);
        self.abandon_snapshots(effects);
        self.abandon_change(effects);
    }
}

/// After the end every request of a client is refused, and everything else is dropped.
fn refuse_after_end<C: Clients>(event: Event<C>, effects: &mut Effects<C>) {
    match event {
        Event::Propose { commands, group } => {
            let offset = 0;
            let count = commands.len();
            let error = ProposeError::Closed;
            effects.failed.push(Failed { group, offset, count, error });
        }
        Event::Session { client, .. } => {
            effects.session_answers.push((client, Err(SessionError::Closed)));
        }
        Event::Read { group, .. } => effects.failed_reads.push((group, ReadError::Closed)),
        Event::TakeSnapshot { client } => {
            effects.snapshot_answers.push((client, Err(SnapshotError::Closed)));
        }
        Event::ChangeMembership { client, .. } => {
            effects.change_answers.push((client, Err(ChangeError::Closed)));
        }
        _ => {}
    }
}
