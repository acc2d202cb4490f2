//! The parts of snapshots have a connection of their own.

use bytes::Bytes;
use raft_core::types::{EntryId, LogIndex, Term};
use raft_net::Counted;
use raft_node::{Content, Envelope, SnapshotId, SnapshotMessage, Transport};

use crate::member::{CLUSTER, Member, eventually, node};

/// A part of a snapshot, with so many bytes.
fn part(offset: u64, bytes: usize) -> Envelope {
    let last = EntryId::new(Term::new(1), LogIndex::new(9));
    let id = SnapshotId { last, salt: 1 };
    let bytes = Bytes::from(vec![7; bytes]);
    let content = Content::Snapshot(SnapshotMessage::Chunk { id, offset, bytes });
    Envelope { cluster: CLUSTER, content }
}

fn send_part(from: &mut Member, to: &Member, offset: u64) {
    let address = to.address().to_string();
    let sent = from.transport.send(node(2), Some(address.as_bytes()), part(offset, 1 << 20));
    assert!(sent, "{offset}");
}

#[tokio::test]
async fn parts_of_a_snapshot_are_sent_on_a_second_connection_that_ends_when_it_is_unused() {
    let (mut one, two) = (Member::new(1), Member::new(2));
    let address = Some(two.address());
    one.send(2, address, 1);
    eventually("it is connected", || two.count(Counted::Accepted) == 1).await;
    (0..8).for_each(|offset| send_part(&mut one, &two, offset));
    one.send(2, address, 2);
    eventually("all of it arrives", || two.parts() == 8 && two.arrived().len() == 10).await;
    assert_eq!(two.count(Counted::Accepted), 2);
    assert_eq!(one.count(Counted::Dialed), 2);
    // With the keep-alives of these tests, the second connection is unused after a second.
    eventually("the second connection ends", || one.transport.bulk_connections() == 0).await;
    one.send(2, address, 3);
    eventually("the first one works", || two.arrived().len() == 11).await;
    send_part(&mut one, &two, 8);
    eventually("it is dialed again", || two.parts() == 9).await;
    assert_eq!(one.count(Counted::Dialed), 3);
}

/// A member that only receives connections of a peer has no address to dial.
#[tokio::test]
async fn without_an_address_parts_are_sent_on_the_connection_that_is_there() {
    let (mut one, mut two) = (Member::new(1), Member::new(2));
    two.send(1, Some(one.address()), 1);
    eventually("it is connected", || one.count(Counted::Accepted) == 1).await;
    assert!(one.transport.send(node(2), None, part(0, 1 << 20)));
    eventually("the part arrives", || two.parts() == 1).await;
    assert_eq!(one.count(Counted::Dialed), 0);
}
