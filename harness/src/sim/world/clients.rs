//! What clients send, and how they continue after an answer.

use raft_node::Consistency;
use raft_node::pump::Event;

use super::{World, WorldEvent};
use crate::checks::Violation;
use crate::sim::machine::Command;

impl World {
    pub(super) fn send_request(&mut self, client: u64) -> Result<(), Violation> {
        if self.calm {
            return Ok(());
        }
        if self.plan.uses_sessions && client.is_multiple_of(2) {
            return self.send_session_request(client);
        }
        self.send_plain_request(client)
    }

    /// A client sends its next request to a member, outside a session.
    pub(super) fn send_plain_request(&mut self, client: u64) -> Result<(), Violation> {
        let up = |at: &usize| self.members[*at].is_up();
        let running: Vec<usize> = (0..self.members.len()).filter(up).collect();
        let leading: Vec<usize> =
            running.iter().copied().filter(|at| self.members[*at].leads()).collect();
        let request = self.workload.next_request();
        match self.workload.choose(&running, &leading) {
            Some(at) if request.is_read => {
                let consistency = self.draw_consistency(client);
                self.send_read_to(at, client, consistency)
            }
            Some(at) => self.send_request_to(at, client, false, request.count),
            None => {
                let think = self.workload.think();
                self.schedule(think, WorldEvent::SendRequest { client });
                Ok(())
            }
        }
    }

    /// A client sends a read to a member.
    fn send_read_to(
        &mut self,
        at: usize,
        client: u64,
        consistency: Consistency,
    ) -> Result<(), Violation> {
        self.consistencies.insert(self.operations.len() + 1, consistency);
        self.send_request_to(at, client, true, 1)
    }

    /// A client sends `count` operations to a member in one request. They have consecutive numbers,
    /// and the first of these is the number of the group.
    pub(crate) fn send_request_to(
        &mut self,
        at: usize,
        client: u64,
        is_read: bool,
        count: u64,
    ) -> Result<(), Violation> {
        let group = self.operations.len() + 1;
        if let Some(patience) = self.workload.waits(client, group, count) {
            self.schedule(patience, WorldEvent::GiveUp { client, group });
        }
        let mut commands = Vec::new();
        for _ in 0..count {
            let key = self.workload.key();
            let value = self.operations.invoke(client, key, is_read);
            commands.push(Command { key, value }.encode(self.workload.padding()));
            self.members[at].waiting.insert(value);
            if !is_read {
                self.members[at].holding.insert(value);
            }
        }
        let consistency = self.consistencies.get(&group).copied().unwrap_or_default();
        let kind = if is_read { "read" } else { "write" };
        self.journal.note(
            self.members[at].id.get(),
            (kind, group, count, consistency),
            format_args!(
                "client {client} requests {kind} {group}, {count} together {consistency:?}"
            ),
        );
        self.enqueue(
            at,
            if is_read {
                Event::Read { consistency, group }
            } else {
                Event::Propose { commands, group }
            },
        )
    }

    /// The client of an operation has received its answer.
    pub(super) fn resolve(&mut self, at: usize, number: u64) {
        self.members[at].waiting.remove(&number);
        self.schedule_next_request(number);
    }

    /// If the client waits for no other answer, its next request is scheduled.
    pub(super) fn schedule_next_request(&mut self, number: u64) {
        let client = self.operations.request(number).client;
        if let Some(think) = self.workload.answered(client, number) {
            self.schedule(think, WorldEvent::SendRequest { client });
        }
    }
}
