//! What a transport delivers over its connections, when it opens and closes them, and what it
//! drops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use raft_net::{Counted, MAX_LINKS_PER_PEER, MAX_QUEUED_ENVELOPES, TcpTransport};
use raft_node::Transport;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::member::{CLUSTER, Member, PATIENCE, envelope, eventually, node, options};
use crate::raw_peer::{body_bytes, frame, is_closed, shaken};

/// Binds a port that another transport has just released.
async fn again(number: u64, address: SocketAddr) -> Member {
    let text = address.to_string();
    eventually("the port is free again", || TcpTransport::bind(&text, options()).is_ok()).await;
    Member::of(CLUSTER, number, &text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envelopes_arrive_in_order_over_one_connection() {
    let (mut one, two, mut three) = (Member::new(1), Member::new(2), Member::new(3));
    for sequence in 0..1000 {
        one.send(2, Some(two.address()), sequence);
        three.send(2, Some(two.address()), sequence);
    }
    eventually("all have arrived", || two.arrived().len() == 2000).await;
    for from in [1, 3] {
        let arrived = two.arrived();
        let of: Vec<u64> = arrived.iter().filter(|(f, _)| *f == from).map(|(_, s)| *s).collect();
        assert_eq!(of, (0..1000).collect::<Vec<u64>>());
    }
    assert_eq!((one.count(Counted::Dialed), two.count(Counted::Accepted)), (1, 2));
    assert_eq!(one.count(Counted::Sent), 1000);
}

#[tokio::test]
async fn a_connection_carries_answers_without_an_address() {
    let (mut one, mut two) = (Member::new(1), Member::new(2));
    assert!(!two.send(1, None, 5), "no connection and no address");
    assert_eq!(two.count(Counted::DroppedNoRoute), 1);
    one.send(2, Some(two.address()), 6);
    eventually("it has arrived", || two.arrived() == [(1, 6)]).await;
    two.send(1, None, 7);
    eventually("the answer has arrived", || one.arrived() == [(2, 7)]).await;
    assert_eq!((two.count(Counted::Dialed), one.count(Counted::Accepted)), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_may_dial_at_once() {
    let (mut one, mut two) = (Member::new(1), Member::new(2));
    let (to_one, to_two) = (Some(one.address()), Some(two.address()));
    for sequence in 0..100 {
        one.send(2, to_two, sequence);
        two.send(1, to_one, sequence);
    }
    eventually("all have arrived", || one.arrived().len() + two.arrived().len() == 200).await;
    assert!(one.count(Counted::Dialed) <= 1 && two.count(Counted::Dialed) <= 1);
    let dropped = [Counted::DroppedFull, Counted::DroppedNoRoute, Counted::DroppedUnreachable];
    assert!(dropped.iter().all(|why| one.count(*why) + two.count(*why) == 0));
}

#[tokio::test]
async fn a_restarted_peer_is_reached_again() {
    let (mut one, two) = (Member::new(1), Member::new(2));
    let address = two.address();
    one.send(2, Some(address), 0);
    eventually("it has arrived", || two.arrived() == [(1, 0)]).await;
    drop(two);
    let two = again(2, address).await;
    let mut sequence = 0;
    eventually("the restarted peer hears", || {
        sequence += 1;
        one.send(2, Some(address), sequence);
        !two.arrived().is_empty()
    })
    .await;
    assert_eq!(one.count(Counted::Dialed), 2);
}

#[tokio::test]
async fn a_dead_peer_costs_bounded_memory() {
    let mut one = Member::new(1);
    // A listener that never answers: the connection succeeds, but the handshake does not end.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("bound");
    let count = MAX_QUEUED_ENVELOPES as u64 + 100;
    let taken = (0..count).filter(|sequence| one.send(2, Some(address), *sequence)).count();
    assert_eq!((taken, one.count(Counted::DroppedFull)), (MAX_QUEUED_ENVELOPES, 100));
    eventually("the waiting envelopes are dropped", || {
        one.count(Counted::DroppedUnreachable) == MAX_QUEUED_ENVELOPES as u64
    })
    .await;
    assert_eq!(one.count(Counted::HandshakeFailed), 1);
    // What went wrong: clients of forwards that waited here were told after five seconds that the
    // outcome is unknown, though no byte had been sent.
    let expected: Vec<u64> = (0..MAX_QUEUED_ENVELOPES as u64).collect();
    assert_eq!(one.not_sent(), expected, "all accepted envelopes are returned");
}

#[tokio::test]
async fn an_invalid_address_is_named_and_not_retried_in_a_loop() {
    let mut one = Member::new(1);
    one.transport.send(node(2), Some(b"nowhere"), envelope(CLUSTER, 1, 1));
    eventually("the envelope is dropped", || one.count(Counted::DroppedUnreachable) == 1).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(one.count(Counted::DialFailed), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_with_keep_alives_is_not() {
    let (mut one, two) = (Member::new(1), Member::new(2));
    one.send(2, Some(two.address()), 1);
    let mut silent = shaken(one.address(), 3).await;
    assert!(is_closed(&mut silent).await);
    assert_eq!(one.count(Counted::Idle), 1);
    sleep(options().idle_limit * 2).await;
    assert_eq!((one.count(Counted::Idle), two.count(Counted::Idle)), (1, 0));
    one.send(2, Some(two.address()), 2);
    eventually("the same connection still serves", || two.arrived().len() == 2).await;
    assert_eq!(one.count(Counted::Dialed), 1);
}

#[tokio::test]
async fn one_peer_has_few_connections() {
    let one = Member::new(1);
    let mut oldest = shaken(one.address(), 2).await;
    let mut newer = Vec::new();
    for _ in 0..MAX_LINKS_PER_PEER {
        newer.push(shaken(one.address(), 2).await);
    }
    assert!(is_closed(&mut oldest).await);
    assert_eq!(one.count(Counted::Idle), 0, "it is not closed as idle");
}

#[tokio::test]
async fn the_newest_connection_is_written_to() {
    let mut one = Member::new(1);
    let mut before = shaken(one.address(), 2).await;
    before.write_all(&frame(1)).await.expect("connected");
    eventually("the first is there", || one.arrived().len() == 1).await;
    let mut after = shaken(one.address(), 2).await;
    after.write_all(&frame(2)).await.expect("connected");
    eventually("the second is there", || one.arrived().len() == 2).await;
    one.send(2, None, 3);
    let written = timeout(PATIENCE, async { while body_bytes(&mut after).await != 256 {} }).await;
    assert!(written.is_ok(), "the answer went to another connection");
}

#[tokio::test]
async fn dropping_the_transport_ends_everything() {
    let (mut one, two) = (Member::new(1), Member::new(2));
    let address = one.address();
    one.send(2, Some(two.address()), 1);
    eventually("it has arrived", || two.arrived().len() == 1).await;
    let mut peer = shaken(address, 3).await;
    let recorder = Arc::clone(&one.recorder);
    drop(one);
    assert!(is_closed(&mut peer).await);
    eventually("no task holds the member any more", || Arc::strong_count(&recorder) == 1).await;
    assert!(TcpStream::connect(address).await.is_err(), "no process listens");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let one = Member::new(1);
    let text = one.address().to_string();
    let error = TcpTransport::bind(&text, options()).err().expect("the port is in use");
    assert!(error.to_string().contains(&text), "{error}");
}
