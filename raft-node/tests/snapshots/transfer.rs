//! Members that are brought up to date by a snapshot of another member.

use raft_core::types::LogIndex;

use super::*;

/// Three members on a network inside the process.
struct Cluster {
    network: InProcessNetwork,
    places: Vec<Place>,
    limits: Limits,
    is_cheap: bool,
}

impl Cluster {
    fn new(is_cheap: bool, limits: Limits) -> Cluster {
        let places = (1..=3).map(|node| Place::of(node, 3)).collect();
        Cluster { network: InProcessNetwork::new(), places, limits, is_cheap }
    }

    async fn start(&self, member: usize) -> Node {
        let place = &self.places[member];
        let (config, store) = (place.config(self.limits.clone()), Box::new(place.store().await));
        let machine = Box::new(Sum::new(self.is_cheap, &behaviour()));
        Node::start(config, store, self.network.transport(), machine).await.expect("it starts")
    }
}

/// A snapshot after each 20 entries, and nothing is kept behind it. A file takes many chunks.
fn small() -> Limits {
    Limits {
        snapshot_entries: 20,
        kept_entries: 0,
        held_back_bytes: 0,
        snapshot_chunk_bytes: 7,
        ..Limits::default()
    }
}

async fn until(what: &str, node: &Node, holds: impl Fn(&NodeStatus) -> bool) {
    let mut status = node.watch_status();
    let met = status.wait_for(|status| holds(status));
    let met = tokio::time::timeout(std::time::Duration::from_secs(60), met).await;
    assert!(met.is_ok_and(|met| met.is_ok()), "waited in vain: {what}: {:?}", node.status());
}

async fn catches_up(is_cheap: bool) {
    let cluster = Cluster::new(is_cheap, small());
    let (one, two) = (cluster.start(0).await, cluster.start(1).await);
    one.wait_for_leader().await.expect("two of three elect one");
    propose(&one, 1..=100).await;
    for node in [&one, &two] {
        until("the log is purged", node, |status| status.raft.boundary.index.get() > 60).await;
    }
    let three = cluster.start(2).await;
    let applied = one.status().applied;
    until("the third has it", &three, |status| status.applied >= applied).await;
    assert!(three.status().counters.snapshots_installed >= 1);
    assert_eq!(state(&three).await, [100, 5050]);
    propose(&three, 101..=110).await;
    assert_eq!(state(&three).await, [110, 5050 + 1055]);
    three.shutdown().await;
    let three = cluster.start(2).await;
    three.wait_for_leader().await.expect("there is one");
    assert_eq!(state(&three).await, [110, 5050 + 1055], "it starts from what it installed");
    for node in [one, two, three] {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_member_that_lacks_purged_entries_is_sent_a_snapshot() {
    catches_up(false).await;
}

#[tokio::test]
async fn a_member_with_a_cheap_state_machine_is_sent_a_snapshot() {
    catches_up(true).await;
}

/// A crash after the snapshot was durable, and before the log was reset.
#[tokio::test]
async fn an_install_that_was_interrupted_is_repeated_at_the_start() {
    let cluster = Cluster::new(false, small());
    let (one, two) = (cluster.start(0).await, cluster.start(1).await);
    one.wait_for_leader().await.expect("two of three elect one");
    propose(&one, 1..=100).await;
    // It includes everything, so no other one takes its place.
    let last = one.snapshot().await.expect("taken");
    fs::create_dir(cluster.places[2].snapshots().path()).expect("new");
    let [from, to] = [0, 2].map(|member: usize| cluster.places[member].snapshots().path_of(last));
    fs::copy(from, to).expect("copied");
    let three = cluster.start(2).await;
    assert!(three.status().applied >= last.index);
    assert_eq!(three.status().raft.boundary, last);
    assert!(three.status().raft.boundary.index > LogIndex::ZERO);
    let _ = three.wait_for_leader().await;
    assert_eq!(state(&three).await, [100, 5050]);
    for node in [one, two, three] {
        node.shutdown().await;
    }
}
