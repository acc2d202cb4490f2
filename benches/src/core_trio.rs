//! Three consensus cores connected to each other without I/O: the cost of the protocol alone.
//!
//! Every write is durable at once and every message arrives. One thread handles one input after
//! another.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kontiki::consensus::{Config, Input, Output, Raft, Start, TICK_MICROS, Time};
use kontiki::types::{LogIndex, Membership, NodeId, Term, TermRun};

/// The number of cores.
const MEMBERS: u64 = 3;

/// Three cores; the first one is the leader.
pub struct CoreTrio {
    cores: Vec<Raft>,
    waiting: VecDeque<(NodeId, Input)>,
    outputs: Vec<Output>,
    steps: u64,
}

impl CoreTrio {
    /// A cluster that has elected its first member.
    pub fn new() -> CoreTrio {
        let ids: Vec<NodeId> = (1..=MEMBERS).filter_map(NodeId::new).collect();
        let members = ids.iter().map(|id| (*id, Bytes::new()));
        let membership = Arc::new(Membership::of_voters(members).expect("three voters"));
        let start = Start {
            last: LogIndex::new(1),
            term_runs: vec![TermRun { first: LogIndex::new(1), term: Term::ZERO }],
            memberships: vec![(LogIndex::new(1), membership)],
            ..Start::default()
        };
        let core = |id: &NodeId| Raft::new(Config::new(*id, 1), start.clone());
        let mut trio = CoreTrio {
            cores: ids.iter().map(core).collect(),
            waiting: VecDeque::new(),
            outputs: Vec::new(),
            steps: 0,
        };
        trio.waiting.push_back((ids[0], Input::ElectionTimeout { after: 1 }));
        trio.waiting.push_back((ids[0], Input::Tick { now: Time::from_micros(TICK_MICROS) }));
        trio.run();
        trio.steps = 0;
        trio
    }

    /// Proposes this many commands at once, and runs until no core has work left.
    pub fn propose(&mut self, count: u64) {
        let leader = self.cores[0].id();
        self.waiting.push_back((leader, Input::Propose { count, origins: Vec::new() }));
        self.run();
    }

    /// The highest index that the leader knows to be committed.
    pub fn commit(&self) -> LogIndex {
        self.cores[0].commit()
    }

    /// The steps of all three cores since the election.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    fn run(&mut self) {
        while let Some((at, input)) = self.waiting.pop_front() {
            self.steps += 1;
            self.cores[at.get() as usize - 1].step(input, &mut self.outputs);
            for output in self.outputs.drain(..) {
                carry_out(at, output, &mut self.waiting);
            }
        }
    }
}

impl Default for CoreTrio {
    fn default() -> CoreTrio {
        CoreTrio::new()
    }
}

fn carry_out(at: NodeId, output: Output, waiting: &mut VecDeque<(NodeId, Input)>) {
    match output {
        Output::Write(write) => waiting.push_back((at, Input::Durable { seq: write.seq })),
        Output::Send { to, message } => {
            waiting.push_back((to, Input::Message { from: at, message, memberships: Vec::new() }));
        }
        Output::SendEntries { to, message, send } => {
            let upto = message.span().map_or(LogIndex::ZERO, |span| span.last());
            waiting.push_back((to, Input::Message { from: at, message, memberships: Vec::new() }));
            waiting.push_back((at, Input::Sent { to, send, upto, bytes: 0 }));
        }
        // This benchmark does not apply, read or watch.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proposed_is_committed() {
        let mut trio = CoreTrio::new();
        let before = trio.commit();
        trio.propose(1);
        trio.propose(64);
        assert_eq!(trio.commit().since(before), 65);
        assert!(trio.steps() >= 8, "{} steps: two writes, appends and answers", trio.steps());
    }
}
