//! The engine room: the pump, and the hands that run its effects.
//!
//! One lock guards it ([`turns`](crate::turns) says who takes it). A *turn* is what its holder
//! does: everything that arrived goes through the pump, the effects that come out are run, and what
//! is done at once (a write to memory, a cheap machine's work) goes in again.

use std::sync::Arc;
use std::task::Waker;

use raft_core::storage::StoreInfo;
use tracing::{error, info};

use crate::Transport;
use crate::metrics::Metrics;
use crate::pump::{Effects, Event, Pump, StopReason};
use crate::runner::Runner;
use crate::shared::Shared;
use crate::status::{NodeEvent, NodeStatus};
use crate::waiters::Waiters;

/// How often a turn goes through the pump; what is left then is for the next turn, so that a long
/// catch-up keeps nobody from anything.
const MOST_ROUNDS: usize = 16;

/// What only the holder of the lock touches.
pub(crate) struct Engine {
    pump: Pump<Waiters>,
    runner: Runner,
    store_info: StoreInfo,
    metrics: Metrics,
    stopped: Option<String>,
    damaged: bool,
    has_ended: bool,
    events: Vec<Event<Waiters>>,
    effects: Effects<Waiters>,
}

impl Engine {
    pub(crate) fn new(pump: Pump<Waiters>, runner: Runner, store_info: StoreInfo) -> Engine {
        Engine {
            pump,
            runner,
            store_info,
            metrics: Metrics::default(),
            stopped: None,
            damaged: false,
            has_ended: false,
            events: Vec::new(),
            effects: Effects::default(),
        }
    }

    pub(crate) fn with_transport(&mut self, act: impl FnOnce(&mut dyn Transport)) {
        if let Some(transport) = &mut self.runner.transport {
            act(transport.as_mut());
        }
    }

    /// Takes up everything that arrived. Gives who is to be woken.
    pub(crate) fn turn(&mut self, shared: &Shared) -> Vec<Waker> {
        let write = self.pump.gathers_during();
        if shared.inbox.drain_into(&mut self.events, write) {
            self.runner.poll(&mut self.events);
        }
        let mut rounds = 0;
        while !self.events.is_empty() && rounds < MOST_ROUNDS {
            self.round(shared);
            rounds += 1;
        }
        if write.is_some() && self.pump.gathers_during() != write {
            shared.inbox.release_proposals();
        }
        if self.pump.has_ended() {
            self.end(shared);
        }
        if !self.events.is_empty() {
            shared.inbox.ring();
        }
        std::mem::take(&mut self.runner.wakers)
    }

    fn round(&mut self, shared: &Shared) {
        let ticks = self.pump.ticks();
        self.pump.turn(&mut self.events, &mut self.effects);
        let address_book = self.pump.raft().membership();
        self.runner.run(&mut self.effects, &mut self.events, address_book, shared);
        let has_news = !self.effects.soft_states.is_empty();
        for soft_state in self.effects.soft_states.drain(..) {
            info!(node = %shared.identity.node, "{soft_state}");
            // Nobody may be listening.
            let _ = shared.events.send(NodeEvent::Became(soft_state));
        }
        if let Some(reason) = self.effects.stop.take() {
            self.note_stop(&reason, shared);
        }
        if has_news || self.pump.ticks() != ticks {
            self.publish(shared);
        }
    }

    fn note_stop(&mut self, reason: &StopReason, shared: &Shared) {
        error!(node = %shared.identity.node, "the member stops: {reason}");
        let text = reason_with_causes(reason);
        let _ = shared.events.send(NodeEvent::Stopped(text.clone()));
        self.stopped = Some(text);
        self.damaged = reason.is_damage();
    }

    /// Shows the state to whoever watches, and counts.
    fn publish(&mut self, shared: &Shared) {
        let (waiting, waiting_bytes) = shared.proposals_room.used();
        let status = NodeStatus {
            proposals_waiting: waiting,
            proposal_bytes_waiting: waiting_bytes,
            stopped: self.stopped.clone(),
            damaged: self.damaged,
            ..NodeStatus::of(shared.identity, &self.pump, &self.store_info)
        };
        self.metrics.publish(&status, shared.inbox.dropped());
        shared.status.send_replace(Arc::new(status));
    }

    /// Lets every worker finish what it has, and end.
    fn end(&mut self, shared: &Shared) {
        if !self.has_ended {
            self.has_ended = true;
            self.runner.close(&mut self.events);
            self.publish(shared);
            shared.inbox.end();
        }
        // Nobody hears what a worker still reports.
        self.events.clear();
        if self.runner.is_gone() {
            shared.finish();
        }
    }
}

/// An error with all its causes, for people.
fn reason_with_causes(reason: &StopReason) -> String {
    let mut text = reason.to_string();
    let StopReason::Store(error) = reason;
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
