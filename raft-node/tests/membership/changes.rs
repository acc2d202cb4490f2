//! Single changes: what each member is afterwards, also once it was restarted.

use raft_core::consensus::ChangeRefusal;
use raft_node::{ChangeStage, NodeEvent};

use super::*;

async fn restart(cluster: &Cluster, node: &Node, number: u64) -> Node {
    node.shutdown().await;
    cluster.join(number, node).await
}

/// Member 3 has lost its disk. It cannot come back under its number; node 4 replaces it in one
/// change. The old member was only away: when it comes back, it learns that it was removed.
#[tokio::test]
async fn a_member_is_replaced_and_learns_it_when_it_comes_back() {
    let mut cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    let first = leader(&nodes).await;
    let gone = nodes.remove((first + 1) % 3);
    let old = gone.status().identity.node;
    gone.shutdown().await;
    let at = leader(&nodes).await;
    nodes[at].propose(Bytes::new()).await.expect("two are a majority");
    let new = cluster.add_disk();
    nodes.push(cluster.join(new, &nodes[at]).await);
    let changed = change(&nodes[at], |target| {
        target.remove(old);
        target.set_voter(node_id(new), Bytes::new());
    });
    let membership = changed.await.expect("the new one catches up");
    assert!(membership.is_voter(node_id(4)) && !membership.contains(old));
    let text = membership.to_string();
    for node in &nodes {
        until_membership(node, &text).await;
        assert_eq!(
            membership.store(node.status().identity.node),
            Some(node.status().identity.store)
        );
    }
    let back = cluster.start(old.get()).await;
    until_removed(&back).await;
    assert!(back.status().stopped.as_ref().is_some_and(|why| why.contains("says node")));
    // Each member of the new membership may be restarted.
    for node in &mut nodes {
        let number = node.status().identity.node.get();
        *node = restart(&cluster, node, number).await;
        until_membership(node, &text).await;
    }
    let at = leader(&nodes).await;
    assert_eq!(nodes[at].propose(Bytes::new()).await.expect("all are back"), "2");
}

/// A learner does not campaign, so it has nothing to say to anyone.
#[tokio::test]
async fn a_learner_that_was_away_learns_that_it_was_removed() {
    let mut cluster = Cluster::of(1);
    let nodes = cluster.start_all().await;
    leader(&nodes).await;
    let number = cluster.add_disk();
    let learner = cluster.join(number, &nodes[0]).await;
    let added = change(&nodes[0], |target| target.set_learner(node_id(2), Bytes::new())).await;
    assert_eq!(added.expect("a learner need not answer").to_string(), "voters 1 learners 2");
    until_membership(&learner, "voters 1 learners 2").await;
    learner.shutdown().await;
    change(&nodes[0], |target| target.remove(node_id(2))).await.expect("one decides");
    let back = cluster.join(number, &nodes[0]).await;
    until_removed(&back).await;
    // Its number is used up, also for a blank store.
    cluster.disks[1] = MemoryDisk::new(SyncMode::EachWrite);
    let blank = cluster.join(number, &nodes[0]).await;
    let again = change(&nodes[0], |target| target.set_learner(node_id(2), Bytes::new())).await;
    assert_eq!(again, Err(ChangeRefusal::NodeIdUsed(node_id(2)).into()));
    assert!(blank.status().raft.membership.is_none());
}

/// The membership knows which store each member has: a node with the number of a member and a blank
/// store is refused also by members that never met the real one.
#[tokio::test]
async fn a_wiped_member_does_not_come_back_under_its_number() {
    let mut cluster = Cluster::of(3);
    let nodes = cluster.start_all().await;
    let at = leader(&nodes).await;
    let number = cluster.add_disk();
    let learner = cluster.join(number, &nodes[at]).await;
    change(&nodes[at], |target| target.set_voter(node_id(4), Bytes::new()))
        .await
        .expect("it joins");
    learner.shutdown().await;
    cluster.disks[3] = MemoryDisk::new(SyncMode::EachWrite);
    let wiped = cluster.join(number, &nodes[at]).await;
    nodes[at].propose(Bytes::new()).await.expect("three are a majority");
    let (other, commit) = (&nodes[(at + 1) % 3], nodes[at].status().raft.commit);
    until("it follows", other, |now| now.raft.commit >= commit).await;
    assert!(wiped.status().raft.membership.is_none(), "nothing was sent to it");
}

/// What could go wrong: an address is mistyped, and the change never ends.
#[tokio::test]
async fn a_new_voter_that_does_not_run_is_named() {
    let mut cluster = Cluster::of(1);
    cluster.limits.change_ticks = 50;
    let nodes = cluster.start_all().await;
    leader(&nodes).await;
    let failed = change(&nodes[0], |target| target.set_voter(node_id(2), Bytes::new())).await;
    assert_eq!(failed, Err(ChangeError::NoProgress(node_id(2))));
    until_membership(&nodes[0], "voters 1 learners 2").await;
    change(&nodes[0], |target| target.remove(node_id(2))).await.expect("it is left out");
    until_membership(&nodes[0], "voters 1").await;
}

#[tokio::test]
async fn a_change_is_watched_and_cancelled() {
    let cluster = Cluster::of(1);
    let nodes = cluster.start_all().await;
    leader(&nodes).await;
    let mut events = nodes[0].events();
    let node = nodes[0].clone();
    let changing = tokio::spawn(async move {
        change(&node, |target| target.set_voter(node_id(2), Bytes::new())).await
    });
    until("it waits for node 2", &nodes[0], |now| {
        now.change.as_ref().is_some_and(|change| change.catching_up.len() == 1)
    })
    .await;
    nodes[0].cancel_change();
    assert_eq!(changing.await.expect("no panic"), Err(ChangeError::Cancelled));
    let mut stages = Vec::new();
    while stages.last() != Some(&ChangeStage::CatchingUp) {
        if let NodeEvent::ChangeStage(stage) = events.recv().await.expect("it runs") {
            stages.push(stage);
        }
    }
    let expected = [ChangeStage::Waiting, ChangeStage::AddingLearners, ChangeStage::CatchingUp];
    assert_eq!(stages, expected);
    until("nothing is left of it", &nodes[0], |now| now.change.is_none()).await;
}

#[tokio::test]
async fn a_change_is_asked_for_at_the_leader() {
    let cluster = Cluster::of(3);
    let nodes = cluster.start_all().await;
    let leads = leader(&nodes).await;
    let other = &nodes[(leads + 1) % 3];
    let hint = other.wait_for_leader().await;
    let refused = change(other, |target| target.remove(node_id(1))).await;
    assert_eq!(refused, Err(ChangeRefusal::NotLeader { hint }.into()));
    nodes[leads].shutdown().await;
    let closed = change(&nodes[leads], |target| target.remove(node_id(1))).await;
    assert_eq!(closed, Err(ChangeError::Closed));
}
