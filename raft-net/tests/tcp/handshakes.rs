//! Which connections a transport accepts: foreign, unknown and malformed peers are refused, and
//! handshakes are limited.

use std::time::Duration;

use bytes::Buf;
use raft_core::types::ClusterId;
use raft_net::wire::{self, Chunks};
use raft_net::{Counted, MAX_HANDSHAKES, MAX_UNKNOWN_PEERS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::member::{CLUSTER, Member, PATIENCE, eventually};
use crate::raw_peer::{frame, hello, is_closed, shaken};

#[tokio::test]
async fn another_cluster_is_refused_on_both_sides() {
    let (mut one, two) = (Member::new(1), Member::of(ClusterId(8), 2, "127.0.0.1:0"));
    one.send(2, Some(two.address()), 1);
    eventually("both have refused", || {
        one.count(Counted::RefusedCluster) >= 1 && two.count(Counted::RefusedCluster) >= 1
    })
    .await;
    assert_eq!((two.arrived(), one.count(Counted::Dialed)), (vec![], 0));
    assert_eq!(two.count(Counted::Accepted), 0);
}

#[tokio::test]
async fn a_wrong_address_does_not_reach_another_node() {
    let (mut one, three) = (Member::new(1), Member::new(3));
    one.send(2, Some(three.address()), 1);
    eventually("both have refused", || {
        one.count(Counted::RefusedNode) >= 1 && three.count(Counted::RefusedNode) >= 1
    })
    .await;
    assert_eq!(three.arrived(), []);
}

#[tokio::test]
async fn a_refusal_says_why() {
    let one = Member::new(1);
    let cases: [([u8; 44], u8, Counted); 5] = [
        (hello(ClusterId(8), 2, 2, 1), 2, Counted::RefusedCluster),
        (hello(CLUSTER, 2, 2, 9), 3, Counted::RefusedNode),
        (hello(CLUSTER, 1, 2, 1), 4, Counted::RefusedNode),
        (hello(CLUSTER, 2, 666, 1), 5, Counted::RefusedStore),
        (newer(hello(CLUSTER, 2, 2, 1)), 1, Counted::RefusedVersion),
    ];
    for (hello, code, counted) in cases {
        let before = one.count(counted);
        let mut stream = TcpStream::connect(one.address()).await.expect("it listens");
        stream.write_all(&hello).await.expect("connected");
        let mut answer = Vec::new();
        let all = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(matches!(all, Ok(Ok(_))), "the connection ends");
        assert_eq!(answer[44], code);
        assert!(answer.len() > 44 + 7 + 10, "the reason as text");
        eventually("it is counted", || one.count(counted) == before + 1).await;
    }
}

fn newer(mut hello: [u8; 44]) -> [u8; 44] {
    let newer = wire::HIGHEST_VERSION + 1;
    (hello[4], hello[6]) = (newer, newer + 1);
    hello
}

#[tokio::test]
async fn connections_that_are_not_from_peers_are_closed_and_the_member_continues() {
    let (one, mut two) = (Member::new(1), Member::new(2));
    two.send(1, Some(one.address()), 1);
    eventually("it has arrived", || one.arrived().len() == 1).await;

    let mut garbage = TcpStream::connect(one.address()).await.expect("it listens");
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("connected");
    assert!(is_closed(&mut garbage).await);
    assert_eq!(one.count(Counted::RefusedGarbage), 1);

    // Slow loris: a valid hello, sent one byte at a time, which would take more than three seconds.
    let (hello, mut taken) = (hello(CLUSTER, 3, 3, 1), 0);
    let mut slow = TcpStream::connect(one.address()).await.expect("it listens");
    while taken < hello.len() && slow.write_all(&hello[taken..=taken]).await.is_ok() {
        sleep(Duration::from_millis(70)).await;
        taken += 1;
    }
    eventually("it is cut off", || one.count(Counted::HandshakeFailed) == 1).await;
    assert!(taken < hello.len(), "it is cut off in the middle");
    assert_eq!(one.count(Counted::Accepted), 1);

    two.send(1, Some(one.address()), 2);
    eventually("the member goes on", || one.arrived().len() == 2).await;
}

#[tokio::test]
async fn handshakes_are_limited_in_time_and_in_number() {
    let one = Member::new(1);
    let mut silent = Vec::new();
    for _ in 0..MAX_HANDSHAKES + 1 {
        silent.push(TcpStream::connect(one.address()).await.expect("it listens"));
    }
    eventually("the connection beyond the limit is closed", || {
        one.count(Counted::RefusedNoRoom) == 1
    })
    .await;
    assert!(is_closed(&mut silent[MAX_HANDSHAKES]).await);
    eventually("the others time out", || {
        one.count(Counted::HandshakeFailed) == MAX_HANDSHAKES as u64
    })
    .await;
}

#[tokio::test]
async fn bad_frames_end_the_connection() {
    let one = Member::new(1);
    let mut oversized = frame(1);
    oversized[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut damaged = frame(1);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let mut foreign = Chunks::new();
    wire::keep_alive(ClusterId(8), wire::HIGHEST_VERSION, &mut foreign);
    let foreign = foreign.copy_to_bytes(foreign.remaining()).to_vec();
    let cases = [
        (oversized, Counted::RefusedOversized),
        (damaged, Counted::RefusedFrame),
        (foreign, Counted::RefusedCluster),
    ];
    for (number, (bad, counted)) in (2..).zip(cases) {
        let mut stream = shaken(one.address(), number).await;
        stream.write_all(&frame(number)).await.expect("connected");
        stream.write_all(&bad).await.expect("connected");
        assert!(is_closed(&mut stream).await);
        assert_eq!(one.count(counted), 1, "{counted:?}");
        let arrived = one.arrived();
        assert_eq!(arrived.last(), Some(&(number, number)), "earlier frames are delivered");
    }
}

/// What went wrong: the first hello of a node fixed its store, though no handshake followed.
#[tokio::test]
async fn a_peer_is_confirmed_only_when_both_sides_have_accepted() {
    let one = Member::new(1);
    let mut silent = TcpStream::connect(one.address()).await.expect("it listens");
    silent.write_all(&hello(CLUSTER, 2, 2, 1)).await.expect("connected");
    let mut answer = [0; 44 + 7];
    silent.read_exact(&mut answer).await.expect("hello and verdict");
    assert_eq!(answer[44], 0, "this side has accepted");
    let mut refusing = TcpStream::connect(one.address()).await.expect("it listens");
    refusing.write_all(&hello(CLUSTER, 3, 3, 1)).await.expect("connected");
    let mut verdict = vec![5, 0, 0];
    verdict.extend(crc32c::crc32c(&verdict).to_le_bytes());
    refusing.write_all(&verdict).await.expect("connected");
    eventually("the refusal is read", || one.count(Counted::RefusedByPeer) == 1).await;
    let _accepting = shaken(one.address(), 4).await;
    eventually("it is connected", || one.count(Counted::Accepted) == 1).await;
    assert_eq!(one.confirmed(), [4]);
}

/// What went wrong: each hello of an unknown node took one of the slots for peers permanently.
#[tokio::test]
async fn nodes_outside_the_membership_leave_capacity_and_are_forgotten() {
    let one = Member::new(1);
    let mut unknown = Vec::new();
    for number in 0..MAX_UNKNOWN_PEERS as u64 {
        unknown.push(shaken(one.address(), 100 + number).await);
    }
    eventually("all are connected", || one.count(Counted::Accepted) == unknown.len() as u64).await;
    let mut one_more = TcpStream::connect(one.address()).await.expect("it listens");
    one_more.write_all(&hello(CLUSTER, 200, 200, 1)).await.expect("connected");
    let mut answer = Vec::new();
    let all = timeout(PATIENCE, one_more.read_to_end(&mut answer)).await;
    assert!(matches!(all, Ok(Ok(_))), "the connection ends");
    assert_eq!((answer[44], one.count(Counted::RefusedNoRoom)), (6, 1));
    let _member = shaken(one.address(), 2).await;
    unknown.clear();
    let mut tries = 0;
    loop {
        let mut stream = TcpStream::connect(one.address()).await.expect("it listens");
        stream.write_all(&hello(CLUSTER, 201, 201, 1)).await.expect("connected");
        let mut answer = [0; 44 + 7];
        stream.read_exact(&mut answer).await.expect("hello and verdict");
        if answer[44] == 0 {
            break;
        }
        tries += 1;
        assert!(tries < 1000, "a slot is free again once its node has disconnected");
        sleep(Duration::from_millis(5)).await;
    }
}
