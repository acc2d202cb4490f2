//! Peers that speak other versions of the wire format.

use bytes::BytesMut;
use raft_core::consensus::{Body, Message};
use raft_core::types::{Identity, StoreId, Term};
use raft_net::wire::{Frame, FrameReader};
use raft_net::{Counted, Hello};
use raft_node::{Content, Envelope, Transport};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::member::{CLUSTER, Member, NO_SEQUENCE, PATIENCE, eventually, node, sequence};
use crate::raw_peer::shaken_by;

/// The hello of a peer that speaks no version above this one.
fn hello(number: u64, highest: u16) -> [u8; 44] {
    let identity = Identity { cluster: CLUSTER, node: node(number), store: StoreId(number) };
    Hello { identity, meant: node(1), highest }.encode()
}

/// The next envelope on a connection of this version.
async fn next_envelope(stream: &mut TcpStream, version: u8) -> Envelope {
    let mut frames = FrameReader::new(version);
    let mut buffer = BytesMut::new();
    loop {
        match frames.next(&mut buffer).expect("a frame of the agreed version") {
            Some(Frame::Envelope(envelope)) => return envelope,
            Some(Frame::KeepAlive(_)) => {}
            None => assert!(stream.read_buf(&mut buffer).await.expect("connected") > 0),
        }
    }
}

/// A connection has the highest version that both sides speak. What that version does not have is
/// not sent, counted, and returned to the member.
#[tokio::test]
async fn a_peer_is_sent_only_what_its_version_has() {
    let mut one = Member::new(1);
    let mut old = shaken_by(one.address(), hello(2, 1)).await;
    let mut new = shaken_by(one.address(), hello(3, 2)).await;
    eventually("both are connected", || one.count(Counted::Accepted) == 2).await;
    for to in [2, 3] {
        let message = Message::new(Term::new(4), Body::TimeoutNow);
        let content = Content::Raft { message, entries: Default::default() };
        assert!(one.transport.send(node(to), None, Envelope { cluster: CLUSTER, content }));
        one.send(to, None, to);
    }
    let arrived = timeout(PATIENCE, next_envelope(&mut old, 1)).await.expect("it arrives");
    assert_eq!(sequence(&arrived), 2, "version 1 has no request to campaign");
    eventually("it is counted", || one.count(Counted::DroppedVersion) == 1).await;
    assert_eq!(one.not_sent(), [NO_SEQUENCE]);
    let arrived = timeout(PATIENCE, next_envelope(&mut new, 2)).await.expect("it arrives");
    let Content::Raft { message, .. } = arrived.content else { panic!("the request comes first") };
    assert_eq!(message.body, Body::TimeoutNow);
}

/// A member learns the version of the peer's program, not only the one that both speak.
#[tokio::test]
async fn a_member_learns_the_highest_version_of_each_peer() {
    let one = Member::new(1);
    let identity = Identity { cluster: CLUSTER, node: node(2), store: StoreId(2) };
    for highest in [1, 2, 7] {
        let hello = Hello { identity, meant: node(1), highest }.encode();
        drop(shaken_by(one.address(), hello).await);
    }
    eventually("all are confirmed", || one.confirmed_versions() == [1, 2, 7]).await;
}
