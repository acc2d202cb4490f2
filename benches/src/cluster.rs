//! Three members in one process, and clients of their leader.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kontiki::{
    Committed, InProcessNetwork, LogConfig, Membership, Node, NodeConfig, NodeId, Replies,
    StateMachine,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How many members a cluster has.
const MEMBERS: u64 = 3;

/// Answers every command with nothing: what is measured is the log.
struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) {
        commands.iter().for_each(|_| replies.push(Bytes::new()));
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

/// A running cluster on a runtime of one thread.
pub struct Cluster {
    runtime: Runtime,
    nodes: Vec<Node>,
    leader: Node,
    _files: TempDir,
}

impl Cluster {
    /// Starts members whose logs are of this backend, and waits until one leads.
    pub fn start(backend: &str) -> Cluster {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let files = tempfile::tempdir().expect("a directory");
        let nodes = runtime.block_on(start_members(backend, &files));
        let leader = runtime.block_on(find_leader(&nodes));
        Cluster { runtime, nodes, leader, _files: files }
    }

    /// Has `clients` propose `count` commands of `size` bytes in all, each one after another; how
    /// long that took.
    pub fn commit(&self, clients: u64, size: usize, count: u64) -> Duration {
        let command = Bytes::from(vec![7; size]);
        self.runtime.block_on(async {
            let began = Instant::now();
            let share = |client| count / clients + u64::from(client < count % clients);
            let start = |client| {
                let (node, command, share) = (self.leader.clone(), command.clone(), share(client));
                tokio::spawn(async move {
                    for _ in 0..share {
                        node.propose(command.clone()).await.expect("the leader stays");
                    }
                })
            };
            let clients: Vec<_> = (0..clients).map(start).collect();
            for client in clients {
                client.await.expect("no client fails");
            }
            began.elapsed()
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.runtime.block_on(async {
            for node in &self.nodes {
                node.shutdown().await;
            }
        });
    }
}

async fn start_members(backend: &str, files: &TempDir) -> Vec<Node> {
    let ids: Vec<NodeId> = (1..=MEMBERS).filter_map(NodeId::new).collect();
    let members = ids.iter().map(|id| (*id, Bytes::new()));
    let membership = Membership::of_voters(members).expect("sound");
    let network = InProcessNetwork::new();
    let mut nodes = Vec::new();
    for id in ids {
        let log = LogConfig::from_name(backend, files.path().join(id.to_string()));
        let mut log = log.expect("compiled in").open().expect("a new log");
        let identity = kontiki::bootstrap(log.as_mut(), "bench", id, &membership).await;
        identity.expect("a blank log");
        let (config, transport) = (NodeConfig::default(), network.transport());
        let node = Node::start(config, log, transport, Box::new(Nothing)).await;
        nodes.push(node.expect("it starts"));
    }
    nodes
}

async fn find_leader(nodes: &[Node]) -> Node {
    loop {
        let leader = nodes[0].wait_for_leader().await.expect("the member runs");
        let leading = nodes.iter().find(|node| node.status().identity.node == leader);
        let leading = leading.expect("one of the members").clone();
        if leading.propose(Bytes::new()).await.is_ok() {
            return leading;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
