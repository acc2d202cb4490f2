//! Three cores wired together, with nothing around them: what the protocol alone costs.
//!
//! Every write is durable at once and every message arrives, one input after another on one thread.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kontiki::consensus::{Config, Input, Output, Raft, Start};
use kontiki::types::{LogIndex, Membership, NodeId, Term, TermRun};

/// How many cores there are.
const MEMBERS: u64 = 3;

/// Three cores of which the first leads.
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
        trio.waiting.push_back((ids[0], Input::Tick));
        trio.run();
        trio.steps = 0;
        trio
    }

    /// Proposes so many commands at once, and runs until nobody has anything to do.
    pub fn propose(&mut self, count: u64) {
        let leader = self.cores[0].id();
        self.waiting.push_back((leader, Input::Propose { count, origins: Vec::new() }));
        self.run();
    }

    /// What the leader knows to be committed.
    pub fn commit(&self) -> LogIndex {
        self.cores[0].commit()
    }

    /// The steps since the election, of all three.
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
        // Nobody applies, reads or watches here.
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
