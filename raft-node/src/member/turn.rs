//! One turn of a member, and the state that the turn's lock guards.
//!
//! ```text
//!   mailbox --drain--> events --> pump --> effects --> executor
//!                        ^                                |
//!                        +---- what is done at once ------+
//! ```
//!
//! Everything that arrived goes through the pump, its effects are carried out, and the results of
//! what is done at once go through the pump again, [`MAX_ROUNDS`] times at most. A turn wakes no
//! client, no observer and no driver: [`AfterTurn`] lists what its caller does once the lock is
//! released.
//!
//! Deliberately absent: the member. A turn gets the parts that it needs, and nothing in a turn can
//! drive the member that it belongs to.

use std::task::Waker;

use raft_core::consensus::Time;
use raft_core::storage::StoreInfo;
use raft_core::types::Identity;
use tracing::{debug, error, info, warn};

use super::clients::Waiters;
use super::executor::Executor;
use super::mailbox::Mailbox;
use super::publisher::Publisher;
use super::status::{NodeEvent, NodeStatus};
use crate::clock;
use crate::pump::{Effects, Event, Pump, StopReason, TakenSnapshot};
use crate::requests::error::SnapshotError;
use crate::requests::quota::Quotas;
use crate::transport::Transport;

/// How often a turn goes through the pump. The rest is left for the next turn, so that a long
/// catch-up does not delay everything else.
const MAX_ROUNDS: usize = 16;

/// The state that only the holder of the turn's lock touches.
pub(crate) struct Turn {
    identity: Identity,
    pump: Pump<Waiters>,
    executor: Executor,
    store_info: StoreInfo,
    /// Whether the pump refused every command at the end of the last round.
    refuses_proposals: bool,
    /// The feature level that the executor was told.
    feature_level: u32,
    stopped: Option<String>,
    damaged: bool,
    has_ended: bool,
    events: Vec<Event<Waiters>>,
    effects: Effects<Waiters>,
}

/// What the caller does once the lock is released.
#[derive(Debug, Default)]
pub(crate) struct AfterTurn {
    /// Clients that were answered, or that enter a quota.
    pub(crate) wakers: Vec<Waker>,
    /// Whether to wake the driver, so that it gathers proposals or ends.
    pub(crate) wakes_driver: bool,
}

impl Turn {
    pub(crate) fn new(
        identity: Identity,
        pump: Pump<Waiters>,
        executor: Executor,
        store_info: StoreInfo,
    ) -> Turn {
        Turn {
            identity,
            feature_level: pump.feature_level(),
            pump,
            executor,
            store_info,
            refuses_proposals: false,
            stopped: None,
            damaged: false,
            has_ended: false,
            events: Vec::new(),
            effects: Effects::default(),
        }
    }

    /// Calls `act` with the transport, unless the member has ended.
    pub(crate) fn with_transport(&mut self, act: impl FnOnce(&mut dyn Transport)) {
        self.executor.with_transport(act);
    }

    /// Processes everything that arrived.
    pub(crate) fn take(
        &mut self,
        mailbox: &Mailbox,
        quotas: &Quotas,
        publisher: &Publisher,
    ) -> AfterTurn {
        let write = self.pump.gathers_during();
        if mailbox.drain_into(&mut self.events, write) {
            self.executor.poll(&mut self.events, quotas);
        }
        // After the events have arrived: what the pump concludes from the time holds for all of
        // them.
        let now = clock::now();
        let mut rounds = 0;
        while !self.events.is_empty() && rounds < MAX_ROUNDS {
            self.round(now, mailbox, quotas, publisher);
            rounds += 1;
        }
        // The disk is free: the driver takes the proposals that were held, once the clients that
        // were just answered have had time to propose again.
        let is_disk_free = write.is_some() && self.pump.gathers_during() != write;
        if self.pump.has_ended() {
            self.end(mailbox, quotas, publisher);
        }
        if !self.events.is_empty() {
            mailbox.note_work_left();
        }
        let wakes_driver = self.is_finished() || (is_disk_free && mailbox.has_proposals());
        AfterTurn { wakers: self.executor.take_wakers(), wakes_driver }
    }

    /// The wakers of the clients that were answered by a turn that panicked.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        self.executor.take_wakers()
    }

    /// Whether nothing is left for the driver: the member has ended, and so have its workers that
    /// are polled inline.
    pub(crate) fn is_finished(&self) -> bool {
        self.has_ended && self.executor.is_gone()
    }

    fn round(&mut self, now: Time, mailbox: &Mailbox, quotas: &Quotas, publisher: &Publisher) {
        let ticks = self.pump.ticks();
        self.pump.turn(now, &mut self.events, &mut self.effects);
        let connected = self.pump.connected_memberships();
        self.executor.run(&mut self.effects, &mut self.events, connected, quotas);
        self.limit_proposals(quotas);
        let has_news = !self.effects.soft_states.is_empty();
        for soft_state in self.effects.soft_states.drain(..) {
            debug!(node = %self.identity.node, "{soft_state}");
            publisher.add_event(NodeEvent::Became(soft_state));
        }
        for (to, why) in self.effects.failed_transfers.drain(..) {
            warn!(node = %self.identity.node, "leadership was not handed over to {to}: {why}");
            publisher.add_event(NodeEvent::TransferFailed { to, why });
        }
        for why in self.effects.refused_changes.drain(..) {
            warn!(node = %self.identity.node, "a step of the membership was refused: {why}");
        }
        let changes = !self.effects.change_stages.is_empty();
        for stage in self.effects.change_stages.drain(..) {
            info!(node = %self.identity.node, "the change of the membership {stage}");
            publisher.add_event(NodeEvent::ChangeStage(stage));
        }
        if let Some(outcome) = self.effects.snapshot_outcome.take() {
            self.note_snapshot(outcome, publisher);
        }
        if let Some(outcome) = self.effects.installed.take() {
            self.note_installed(outcome, publisher);
        }
        if let Some(reason) = self.effects.stop.take() {
            self.note_stop(&reason, publisher);
        }
        let level = self.pump.feature_level();
        let is_raised = level != self.feature_level;
        if is_raised {
            info!(node = %self.identity.node, "the feature level of the cluster is {level}");
            self.feature_level = level;
            self.executor.note_level(level);
        }
        if has_news || changes || is_raised || self.pump.ticks() != ticks {
            self.publish(mailbox, quotas, publisher);
        }
    }

    /// While the pump refuses every command, lets the commands that wait for the quota enter, to be
    /// refused. While it may hold commands, the quota limits how many.
    fn limit_proposals(&mut self, quotas: &Quotas) {
        let refuses = self.pump.refuses_proposals();
        if refuses != self.refuses_proposals {
            self.refuses_proposals = refuses;
            self.executor.limit_proposals(!refuses, quotas);
        }
    }

    fn note_snapshot(&self, outcome: Result<TakenSnapshot, SnapshotError>, publisher: &Publisher) {
        let node = self.identity.node;
        match outcome {
            Ok(taken) => {
                let TakenSnapshot { last, bytes, .. } = taken;
                info!(%node, %last, bytes, "a snapshot was taken");
                publisher.add_event(NodeEvent::SnapshotTaken(taken));
            }
            Err(error) => {
                warn!(%node, "{error}; it is tried again if it is due");
                publisher.add_event(NodeEvent::SnapshotFailed(error.to_string()));
            }
        }
    }

    fn note_installed(&self, outcome: Result<TakenSnapshot, String>, publisher: &Publisher) {
        let node = self.identity.node;
        match outcome {
            Ok(taken) => {
                let TakenSnapshot { last, bytes, .. } = taken;
                info!(%node, %last, bytes, "a snapshot of another member was installed");
                publisher.add_event(NodeEvent::SnapshotInstalled(taken));
            }
            Err(why) => {
                warn!(%node, "a snapshot could not be received: {why}; it is tried again");
                publisher.add_event(NodeEvent::SnapshotNotReceived(why));
            }
        }
    }

    fn note_stop(&mut self, reason: &StopReason, publisher: &Publisher) {
        error!(node = %self.identity.node, "the member stops: {reason}");
        let text = reason_with_causes(reason);
        publisher.add_event(NodeEvent::Stopped(text.clone()));
        self.stopped = Some(text);
        self.damaged = reason.is_damage();
    }

    fn publish(&self, mailbox: &Mailbox, quotas: &Quotas, publisher: &Publisher) {
        let (waiting, waiting_bytes) = quotas.proposals.used();
        let status = NodeStatus {
            proposals_waiting: waiting,
            proposal_bytes_waiting: waiting_bytes,
            stopped: self.stopped.clone(),
            damaged: self.damaged,
            ..NodeStatus::of(self.identity, &self.pump, &self.store_info)
        };
        publisher.publish(status, mailbox.dropped());
    }

    /// Lets every worker finish what it has, and end.
    fn end(&mut self, mailbox: &Mailbox, quotas: &Quotas, publisher: &Publisher) {
        if !self.has_ended {
            self.has_ended = true;
            self.executor.close(&mut self.events, quotas);
            self.publish(mailbox, quotas, publisher);
            mailbox.end();
        }
        // Events that workers still report are no longer needed.
        self.events.clear();
    }
}

/// An error with all its causes.
fn reason_with_causes(reason: &StopReason) -> String {
    let mut text = reason.to_string();
    // The text of a store's error contains that error already.
    let first: Option<&dyn std::error::Error> = match reason {
        StopReason::Store(error) => Some(error),
        _ => Some(reason),
    };
    let mut cause = first.and_then(std::error::Error::source);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
