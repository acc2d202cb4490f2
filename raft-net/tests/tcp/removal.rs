//! Members that are removed from the membership, and nodes that were never in it.

use std::collections::BTreeSet;

use raft_core::types::NodeId;
use raft_net::Counted;
use raft_node::Transport;

use crate::member::{Member, eventually, node};

fn members(numbers: &[u64]) -> BTreeSet<NodeId> {
    numbers.iter().map(|number| node(*number)).collect()
}

/// What went wrong: a removed member stayed connected and in the list for ever, with its address
/// and the task that dials it.
#[tokio::test]
async fn a_removed_member_that_was_dialed_is_removed_from_the_list() {
    let (mut one, mut two) = (Member::new(1), Member::new(2));
    let address = Some(two.address());
    one.send(2, address, 0);
    eventually("it has arrived", || two.arrived() == [(1, 0)]).await;
    one.transport.retain(&members(&[1, 2]));
    one.send(2, address, 1);
    eventually("a member stays connected", || two.arrived().len() == 2).await;
    assert_eq!((one.count(Counted::Dialed), one.transport.known_peers()), (1, 1));
    one.transport.retain(&members(&[1]));
    eventually("it is forgotten", || one.transport.known_peers() == 0).await;
    eventually("its connection has ended", || !two.send(1, None, 9)).await;
    // The membership in force may be an older one, so envelopes to the removed member still arrive.
    one.send(2, address, 2);
    eventually("it has arrived", || two.arrived().len() == 3).await;
    assert_eq!((one.count(Counted::Dialed), one.transport.known_peers()), (2, 1));
}

/// A member that is behind gets messages from a leader that its own membership does not have yet.
#[tokio::test]
async fn a_connection_that_another_node_made_stays() {
    let (mut one, mut two) = (Member::new(1), Member::new(2));
    two.send(1, Some(one.address()), 0);
    eventually("it has arrived", || one.arrived() == [(2, 0)]).await;
    assert!(one.send(2, None, 1));
    one.transport.retain(&members(&[1]));
    assert!(one.send(2, None, 2));
    eventually("both have arrived", || two.arrived() == [(1, 1), (1, 2)]).await;
    assert_eq!(two.count(Counted::Dialed), 1);
    drop(two);
    one.transport.retain(&members(&[1]));
    eventually("it is forgotten", || one.transport.known_peers() == 0).await;
}

/// What went wrong: it was kept for ever, and after sixteen of them no new member was admitted.
#[tokio::test]
async fn a_node_that_was_only_answered_is_not_kept_after_its_connection() {
    let (mut one, mut two) = (Member::new(1), Member::new(2));
    two.send(1, Some(one.address()), 0);
    eventually("it has arrived", || one.arrived() == [(2, 0)]).await;
    assert!(one.send(2, None, 1));
    eventually("it is answered", || two.arrived() == [(1, 1)]).await;
    drop(two);
    eventually("it is forgotten", || one.transport.known_peers() == 0).await;
    assert!(!one.send(2, None, 2) && one.transport.known_peers() == 0);
}

/// Envelopes that wait for a peer that cannot be reached are returned when it is removed.
#[tokio::test]
async fn envelopes_that_wait_for_a_removed_member_are_returned() {
    let mut one = Member::new(1);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    one.send(2, Some(silent.local_addr().expect("bound")), 5);
    one.transport.retain(&members(&[1]));
    assert_eq!(one.not_sent(), [5]);
    eventually("it is forgotten", || one.transport.known_peers() == 0).await;
}

/// What went wrong: a member was dropped with its connection before the entry that removes it, and
/// the commit index, were written to it.
#[tokio::test]
async fn what_was_accepted_for_a_member_before_it_was_removed_still_arrives() {
    let (mut one, two) = (Member::new(1), Member::new(2));
    one.send(2, Some(two.address()), 0);
    eventually("it has arrived", || two.arrived().len() == 1).await;
    for sequence in 1..=50 {
        assert!(one.send(2, Some(two.address()), sequence));
    }
    one.transport.retain(&members(&[1]));
    eventually("all have arrived", || two.arrived().len() == 51).await;
    eventually("it is forgotten", || one.transport.known_peers() == 0).await;
    assert!(one.not_sent().is_empty());
}

/// A removed member may have made the connection itself. It must connect again, and learns then
/// that it was removed.
#[tokio::test]
async fn a_removed_member_is_disconnected_and_told_when_it_connects_again() {
    let (mut one, mut two) = (Member::new(1), Member::new(2));
    two.send(1, Some(one.address()), 0);
    eventually("it has arrived", || one.arrived() == [(2, 0)]).await;
    one.send(2, Some(two.address()), 1);
    eventually("it has arrived", || two.arrived() == [(1, 1)]).await;
    assert_eq!(two.count(Counted::Dialed), 1);
    one.recorder.remove(node(2));
    one.transport.retain(&members(&[1]));
    eventually("it is disconnected", || one.transport.known_peers() == 0).await;
    two.send(1, Some(one.address()), 2);
    eventually("it is told", || two.recorder.told_by() == [1]).await;
    assert_eq!(one.count(Counted::RefusedRemoved), 1);
}

/// A member that hears nothing, and has nothing to send, learns that it was removed, too.
#[tokio::test]
async fn a_connection_is_made_although_nothing_is_sent() {
    let (mut one, two) = (Member::new(1), Member::new(2));
    let address = two.address().to_string();
    let connect = |one: &mut Member| one.transport.connect(node(2), Some(address.as_bytes()));
    connect(&mut one);
    eventually("they are connected", || two.count(Counted::Accepted) == 1).await;
    connect(&mut one);
    two.recorder.remove(node(1));
    drop(one);
    let mut one = Member::new(1);
    connect(&mut one);
    eventually("it is told", || one.recorder.told_by() == [2]).await;
    assert_eq!(two.count(Counted::Accepted), 1, "one connection sufficed for two calls");
}
