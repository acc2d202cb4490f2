//! The events of a world, and the order in which they are due.

use raft_core::types::NodeId;
use raft_node::pump::FetchId;

use crate::sim::Time;
use crate::sim::nemesis::Fault;
use crate::sim::network::Packet;

/// An event in the queue, and when it is due.
#[derive(Debug)]
pub(super) struct Scheduled {
    pub(super) at: Time,
    pub(super) sequence: u64,
    pub(super) event: WorldEvent,
}

/// An event. Members are named by their position in the list. An event of a process is dropped if
/// the member runs another process when the event is due.
#[derive(Debug)]
pub(super) enum WorldEvent {
    Tick { member: usize, process: u64 },
    Wake { member: usize, process: u64 },
    Arrive(Box<Packet>),
    Written { member: usize, process: u64, number: u64 },
    Read { member: usize, process: u64, fetch: FetchId },
    Applied { member: usize, process: u64 },
    SnapshotWritten { member: usize, process: u64 },
    FileWork { member: usize, process: u64, number: u64 },
    Restored { member: usize, process: u64 },
    SendRequest { client: u64 },
    GiveUp { client: u64, group: u64 },
    RetrySession { client: u64 },
    TellRemoved { member: usize, process: u64, by: NodeId },
    NextFault,
    OperatorRequest,
    InjectFault(Fault),
    Heal { cut: u64 },
    Start { member: usize },
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}
