//! Real members whose cluster changes while clients propose: nodes join, are replaced and leave.

#[path = "../support/lasting.rs"]
mod lasting;
#[path = "../support/mod.rs"]
mod support;

mod changes;
mod load;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lasting::Lasting;
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::consensus::RoleName;
use raft_core::types::{Membership, MembershipParts, NodeId};
use raft_node::{
    ChangeError, Committed, Fatal, InProcessNetwork, Limits, Node, NodeConfig, NodeStatus, Replies,
    StateMachine, Timing, bootstrap, join,
};
use support::{ChangedLog, node_id};
use tokio::time::{sleep, timeout};

/// The longest wait for one step; each takes far less.
const PATIENCE: Duration = Duration::from_secs(30);

/// Counts commands, and answers each with the count so far.
#[derive(Default)]
struct Count(u64);

impl StateMachine for Count {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        for _ in commands {
            self.0 += 1;
            replies.push(Bytes::from(self.0.to_string()));
        }
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::from(self.0.to_string())
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

/// The nodes of a cluster, and their disks. Node n has position n - 1.
struct Cluster {
    network: InProcessNetwork,
    disks: Vec<MemoryDisk>,
    first: Membership,
    limits: Limits,
}

impl Cluster {
    /// A cluster that starts with these many voters.
    fn of(members: u64) -> Cluster {
        let first = support::membership_of(members);
        let (network, limits) = (InProcessNetwork::new(), Limits::default());
        let mut cluster = Cluster { network, disks: Vec::new(), first, limits };
        for _ in 0..members {
            cluster.add_disk();
        }
        cluster
    }

    fn add_disk(&mut self) -> u64 {
        self.disks.push(MemoryDisk::new(SyncMode::EachWrite));
        self.disks.len() as u64
    }

    fn store(&self, number: u64) -> ChangedLog<Lasting> {
        let log = MemoryLog::open(&self.disks[number as usize - 1]).expect("the disk is free");
        ChangedLog { log, changes: Lasting }
    }

    fn config(&self) -> NodeConfig {
        // A busy machine may suspend all members for longer than the default timeouts, and no test
        // here is about a leader that is lost in that way.
        let timing =
            Timing { election_ticks_min: 150, election_ticks_max: 200, ..Timing::default() };
        NodeConfig { timing, limits: self.limits.clone(), ..NodeConfig::default() }
    }

    /// Starts one of the first members.
    async fn start(&self, number: u64) -> Node {
        let mut store = self.store(number);
        let identity = bootstrap(&mut store, "changes", node_id(number), &self.first).await;
        identity.expect("blank, or bootstrapped as this member");
        let (transport, machine) = (self.network.transport(), Box::<Count>::default());
        Node::start(self.config(), Box::new(store), transport, machine).await.expect("it starts")
    }

    async fn start_all(&self) -> Vec<Node> {
        let mut nodes = Vec::new();
        for number in 1..=self.disks.len() as u64 {
            nodes.push(self.start(number).await);
        }
        nodes
    }

    /// Starts a node that joins, or has joined, the cluster of another one.
    async fn join(&self, number: u64, of: &Node) -> Node {
        let mut store = self.store(number);
        let cluster = of.status().identity.cluster;
        join(&mut store, cluster, node_id(number)).await.expect("blank, or of this node");
        let (transport, machine) = (self.network.transport(), Box::<Count>::default());
        Node::join(self.config(), Box::new(store), transport, machine).await.expect("it starts")
    }
}

/// Waits until a status holds.
async fn until(what: &str, node: &Node, holds: impl FnMut(&Arc<NodeStatus>) -> bool) {
    let mut status = node.watch_status();
    let waited = timeout(PATIENCE, status.wait_for(holds)).await;
    assert!(waited.is_ok_and(|status| status.is_ok()), "in vain: {what}: {:?}", node.status());
}

/// Waits until one of these members leads; returns its position in the list.
async fn leader(nodes: &[Node]) -> usize {
    for _ in 0..3000 {
        let leads = |node: &Node| {
            let status = node.status();
            status.raft.soft_state.role == RoleName::Leader && !status.closed
        };
        if let Some(at) = nodes.iter().position(leads) {
            return at;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("no member leads after 30 s");
}

/// Waits until a member has committed the newest membership that it has, and that is this one.
async fn until_membership(node: &Node, text: &str) {
    until(text, node, |now| {
        let membership = now.raft.membership.as_ref().map(|membership| membership.to_string());
        membership.as_deref() == Some(text) && now.raft.membership_index <= now.raft.commit
    })
    .await;
}

/// Waits until a member has stopped because it was removed.
async fn until_removed(node: &Node) {
    until("it stops", node, |now| now.closed).await;
    let stopped = node.status().stopped.clone().expect("it says why");
    assert!(stopped.starts_with("this member was removed from the cluster"), "{stopped}");
}

/// Changes the membership of a leader.
async fn change(
    leader: &Node,
    edit: impl FnOnce(&mut MembershipParts),
) -> Result<Arc<Membership>, ChangeError> {
    let membership = leader.status().raft.membership.clone().expect("a leader has one");
    let mut target = membership.target();
    edit(&mut target);
    let target = Membership::new(target).expect("sound");
    timeout(PATIENCE, leader.change_membership(target)).await.expect("in time")
}

fn voter(number: u64) -> (NodeId, Bytes) {
    (node_id(number), Bytes::new())
}
