//! Members that are removed from the membership, and nodes that were never in it.

use bytes::Bytes;
use raft_core::types::Membership;
use raft_net::Counted;
use raft_node::Transport;

use crate::member::{Member, eventually, node};

fn membership(numbers: &[u64]) -> Membership {
    let members = numbers.iter().map(|number| (node(*number), Bytes::new()));
    Membership::of_voters(members).expect("sound")
}

/// What went wrong: a removed member stayed connected and in the list for ever, with its address
/// and the task that dials it.
#[tokio::test]
async fn a_removed_member_that_was_dialed_is_removed_from_the_list() {
    let (mut one, mut two) = (Member::new(1), Member::new(2));
    let address = Some(two.address());
    one.send(2, address, 0);
    eventually("it has arrived", || two.arrived() == [(1, 0)]).await;
    one.transport.retain(&membership(&[1, 2]));
    one.send(2, address, 1);
    eventually("a member stays connected", || two.arrived().len() == 2).await;
    assert_eq!((one.count(Counted::Dialed), one.transport.known_peers()), (1, 1));
    one.transport.retain(&membership(&[1]));
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
    one.transport.retain(&membership(&[1]));
    assert!(one.send(2, None, 2));
    eventually("both have arrived", || two.arrived() == [(1, 1), (1, 2)]).await;
    assert_eq!(two.count(Counted::Dialed), 1);
    drop(two);
    one.transport.retain(&membership(&[1]));
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
    one.transport.retain(&membership(&[1]));
    assert_eq!(one.not_sent(), [5]);
    eventually("it is forgotten", || one.transport.known_peers() == 0).await;
}
