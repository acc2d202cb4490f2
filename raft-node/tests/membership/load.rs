//! Clients propose without a pause while the cluster changes. None of their commands fails, is lost
//! or is applied twice.

use std::sync::atomic::{AtomicBool, Ordering};

use raft_node::ProposeError;
use tokio::task::JoinHandle;

use super::*;

/// Clients that propose until they are stopped.
struct Load {
    stops: Arc<AtomicBool>,
    clients: Vec<JoinHandle<u64>>,
}

impl Load {
    /// Clients that each propose at one of these nodes, and accept no error.
    fn at(nodes: &[Node]) -> Load {
        Load::of(nodes.iter().map(|node| vec![node.clone()]).collect())
    }

    /// One client for each list of nodes. It proposes at the first of them. If nothing happened to
    /// its command, it proposes it again at the next.
    fn of(lists: Vec<Vec<Node>>) -> Load {
        let stops = Arc::<AtomicBool>::default();
        let clients = lists.into_iter().map(|nodes| {
            let stops = Arc::clone(&stops);
            tokio::spawn(async move { propose_until(&nodes, &stops).await })
        });
        Load { clients: clients.collect(), stops }
    }

    /// Stops the clients; returns how many commands were done.
    async fn stop(self) -> u64 {
        self.stops.store(true, Ordering::Relaxed);
        let mut done = 0;
        for client in self.clients {
            done += timeout(PATIENCE, client).await.expect("in time").expect("no command fails");
        }
        done
    }
}

async fn propose_until(nodes: &[Node], stops: &AtomicBool) -> u64 {
    let (mut done, mut at) = (0, 0);
    while !stops.load(Ordering::Relaxed) {
        match nodes[at].propose(Bytes::from_static(b"one more")).await {
            Ok(_) => done += 1,
            Err(
                error
                @ (ProposeError::NotLeader { .. } | ProposeError::Busy | ProposeError::Closed),
            ) => {
                assert!(nodes.len() > 1, "{error}");
                at = (at + 1) % nodes.len();
                sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    done
}

async fn count(node: &Node) -> u64 {
    let read = timeout(PATIENCE, node.read(Bytes::new())).await.expect("in time");
    std::str::from_utf8(&read.expect("there is a leader")).expect("text").parse().expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_and_shrinks_without_a_failed_command() {
    let mut cluster = Cluster::of(1);
    let mut nodes = cluster.start_all().await;
    leader(&nodes).await;
    let mut loads = vec![Load::at(&nodes)];
    for next in 2..=5 {
        let number = cluster.add_disk();
        nodes.push(cluster.join(number, &nodes[0]).await);
        if next == 3 || next == 5 {
            // Two join in one change: 1 -> 3 -> 5.
            let new = [next - 1, next].map(voter);
            let changed = change(&nodes[0], |target| {
                new.into_iter().for_each(|(node, data)| target.set_voter(node, data));
            });
            changed.await.expect("both catch up");
            loads.push(Load::at(&nodes[next as usize - 2..next as usize]));
        }
    }
    until_membership(&nodes[4], "voters 1,2,3,4,5").await;
    let mut done = loads.pop().expect("at 4 and 5").stop().await;
    let leaves = |target: &mut MembershipParts| {
        [4, 5].map(node_id).into_iter().for_each(|n| target.remove(n))
    };
    change(&nodes[0], leaves).await.expect("three go on");
    for node in &nodes[3..] {
        until_removed(node).await;
    }
    for load in loads {
        done += load.stop().await;
    }
    for node in &nodes[..3] {
        assert_eq!(count(node).await, done);
        until_membership(node, "voters 1,2,3").await;
    }
    assert_eq!(leader(&nodes).await, 0, "the leader was never deposed");
}

/// The leader removes itself under load: what its clients, and those of the others, were told is
/// what the cluster that is left has done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_removes_itself_leaves_no_client_in_doubt() {
    let cluster = Cluster::of(3);
    let nodes = cluster.start_all().await;
    let leads = leader(&nodes).await;
    let rotated = (0..3).map(|first| {
        let order = (first..first + 3).map(|at| nodes[at % 3].clone());
        order.collect()
    });
    let load = Load::of(rotated.collect());
    sleep(Duration::from_millis(50)).await;
    let own = node_id(leads as u64 + 1);
    change(&nodes[leads], |target| target.remove(own)).await.expect("two go on");
    until_removed(&nodes[leads]).await;
    let rest: Vec<Node> =
        nodes.iter().filter(|node| node.status().identity.node != own).cloned().collect();
    let next = leader(&rest).await;
    sleep(Duration::from_millis(50)).await;
    let done = load.stop().await;
    assert_eq!(count(&rest[next]).await, done);
}
