//! What clients send, and how they continue once they are answered.

use raft_node::pump::Event;

use super::{Happening, World};
use crate::checks::Violation;
use crate::sim::machine::Command;

impl World {
    pub(super) fn ask(&mut self, client: u64) -> Result<(), Violation> {
        if self.calm {
            return Ok(());
        }
        let up = |at: &usize| self.members[*at].is_up();
        let running: Vec<usize> = (0..self.members.len()).filter(up).collect();
        let leading: Vec<usize> =
            running.iter().copied().filter(|at| self.members[*at].leads()).collect();
        let request = self.workload.next_request();
        match self.workload.choose(&running, &leading) {
            Some(at) => self.ask_at(at, client, request.is_read, request.count),
            None => {
                let think = self.workload.think();
                self.schedule(think, Happening::Ask { client });
                Ok(())
            }
        }
    }

    /// A client makes a request to a member; the operations have consecutive numbers, and the first
    /// one names the group.
    pub(crate) fn ask_at(
        &mut self,
        at: usize,
        client: u64,
        is_read: bool,
        count: u64,
    ) -> Result<(), Violation> {
        let group = self.orders.len() + 1;
        if let Some(patience) = self.workload.waits(client, group, count) {
            self.schedule(patience, Happening::GiveUp { client, group });
        }
        let mut commands = Vec::new();
        for _ in 0..count {
            let key = self.workload.key();
            let value = self.orders.ask(client, key, is_read);
            commands.push(Command { key, value }.encode(self.workload.padding()));
            self.members[at].waiting.insert(value);
            if !is_read {
                self.members[at].holding.insert(value);
            }
        }
        let kind = if is_read { "read" } else { "write" };
        self.journal.note(
            self.members[at].id.get(),
            (kind, group, count),
            format_args!("client {client} asks: {kind} {group}, {count} together"),
        );
        self.hand(
            at,
            if is_read { Event::Read { group } } else { Event::Propose { commands, group } },
        )
    }

    /// An operation's client has its answer.
    pub(super) fn resolve(&mut self, at: usize, number: u64) {
        self.members[at].waiting.remove(&number);
        self.go_on(number);
    }

    /// The client continues, once it waits for nothing else.
    pub(super) fn go_on(&mut self, number: u64) {
        let client = self.orders.request(number).client;
        if let Some(think) = self.workload.answered(client, number) {
            self.schedule(think, Happening::Ask { client });
        }
    }
}
