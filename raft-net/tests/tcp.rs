//! Transports on the loopback interface: delivery, restarts, bounds, and foreign peers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use raft_core::types::{ClusterId, Identity, Membership, NodeId, StoreId, Term};
use raft_net::wire::{self, Chunks};
use raft_net::{
    Counted, Counters, Hello, MAX_HANDSHAKES, MAX_LINKS_PER_PEER, MAX_QUEUED_ENVELOPES,
    MAX_UNKNOWN_PEERS, TcpOptions, TcpTransport,
};
use raft_node::{Content, Envelope, Forward, Inbound, PeerRejected, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const CLUSTER: ClusterId = ClusterId(7);

/// Longer than any step of these tests takes, and shorter than the time limit of the test runner.
const PATIENCE: Duration = Duration::from_secs(10);

/// A member that records what arrives.
struct Recorder {
    identity: Identity,
    arrived: Mutex<Vec<(NodeId, Envelope)>>,
    confirmed: Mutex<Vec<Identity>>,
    not_sent: Mutex<Vec<(NodeId, u64)>>,
}

impl Inbound for Recorder {
    fn identity(&self) -> Identity {
        self.identity
    }

    /// Does not compare the clusters, because the transport compares them first.
    fn admit(&self, peer: Identity) -> Result<(), PeerRejected> {
        match peer.node {
            node if node == self.identity.node => Err(PeerRejected::OwnId(node)),
            node if peer.store == StoreId(666) => {
                Err(PeerRejected::OtherStore { node, theirs: peer.store, known: StoreId(1) })
            }
            _ => Ok(()),
        }
    }

    fn confirm(&self, peer: Identity) -> Result<(), PeerRejected> {
        self.confirmed.lock().expect("not poisoned").push(peer);
        Ok(())
    }

    /// Nodes with ids of three digits are not in the membership.
    fn is_member(&self, node: NodeId) -> bool {
        node.get() < 100
    }

    fn not_sent(&self, to: NodeId, envelopes: &mut Vec<Envelope>) {
        let mut not_sent = self.not_sent.lock().expect("not poisoned");
        not_sent.extend(envelopes.drain(..).map(|envelope| (to, sequence(&envelope))));
    }

    fn deliver(&self, from: NodeId, envelope: Envelope) {
        self.arrived.lock().expect("not poisoned").push((from, envelope));
    }
}

/// A member: its recorder and its transport.
struct Member {
    recorder: Arc<Recorder>,
    transport: TcpTransport,
    counters: Arc<Counters>,
}

impl Member {
    fn new(number: u64) -> Member {
        Member::of(CLUSTER, number, "127.0.0.1:0")
    }

    fn of(cluster: ClusterId, number: u64, address: &str) -> Member {
        let identity = Identity { cluster, node: node(number), store: StoreId(number) };
        let recorder = Arc::new(Recorder {
            identity,
            arrived: Mutex::default(),
            confirmed: Mutex::default(),
            not_sent: Mutex::default(),
        });
        let mut transport = TcpTransport::bind(address, options()).expect("a free port");
        let counters = transport.counters();
        transport.start(Arc::clone(&recorder) as Arc<dyn Inbound>);
        Member { recorder, transport, counters }
    }

    fn address(&self) -> SocketAddr {
        self.transport.local_address()
    }

    fn send(&mut self, to: u64, address: Option<SocketAddr>, sequence: u64) -> bool {
        let address = address.map(|address| address.to_string());
        let address = address.as_deref().map(str::as_bytes);
        let cluster = self.recorder.identity.cluster;
        self.transport.send(node(to), address, envelope(cluster, sequence, 256))
    }

    /// The sequence numbers of envelopes that were returned as not sent.
    fn not_sent(&self) -> Vec<u64> {
        let not_sent = self.recorder.not_sent.lock().expect("not poisoned");
        not_sent.iter().map(|(_, sequence)| *sequence).collect()
    }

    /// The peers that were confirmed.
    fn confirmed(&self) -> Vec<u64> {
        let confirmed = self.recorder.confirmed.lock().expect("not poisoned");
        confirmed.iter().map(|peer| peer.node.get()).collect()
    }

    /// The senders and sequence numbers of envelopes that arrived.
    fn arrived(&self) -> Vec<(u64, u64)> {
        let arrived = self.recorder.arrived.lock().expect("not poisoned");
        arrived.iter().map(|(from, envelope)| (from.get(), sequence(envelope))).collect()
    }

    fn count(&self, counted: Counted) -> u64 {
        self.counters.get(counted)
    }
}

fn options() -> TcpOptions {
    TcpOptions {
        handshake_timeout: Duration::from_secs(1),
        keep_alive_every: Duration::from_millis(50),
        idle_limit: Duration::from_secs(2),
        ..TcpOptions::default()
    }
}

fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

fn membership(numbers: &[u64]) -> Membership {
    let members = numbers.iter().map(|number| (node(*number), Bytes::new()));
    Membership::of_voters(members).expect("sound")
}

fn envelope(cluster: ClusterId, sequence: u64, bytes: usize) -> Envelope {
    let commands = vec![Bytes::from(vec![sequence as u8; bytes])];
    let forward = Forward { term: Term::new(1), start: 1, sequence, commands };
    Envelope { cluster, content: Content::Forward(forward) }
}

fn sequence(envelope: &Envelope) -> u64 {
    match &envelope.content {
        Content::Forward(forward) => forward.sequence,
        other => panic!("{other:?} was never sent"),
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Binds a port that another transport has just released.
async fn again(number: u64, address: SocketAddr) -> Member {
    let text = address.to_string();
    eventually("the port is free again", || TcpTransport::bind(&text, options()).is_ok()).await;
    Member::of(CLUSTER, number, &text)
}

fn hello(cluster: ClusterId, number: u64, store: u64, meant: u64) -> [u8; 44] {
    let identity = Identity { cluster, node: node(number), store: StoreId(store) };
    Hello { identity, meant: node(meant) }.encode()
}

/// A connection on which the test itself has done a peer's handshake with node 1.
async fn shaken(address: SocketAddr, number: u64) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(&hello(CLUSTER, number, number, 1)).await.expect("connected");
    let mut answer = [0; 44 + 7];
    stream.read_exact(&mut answer).await.expect("hello and verdict");
    assert_eq!(answer[44], 0, "welcome");
    let mut verdict = vec![0; 3];
    verdict.extend(crc32c::crc32c(&verdict).to_le_bytes());
    stream.write_all(&verdict).await.expect("connected");
    stream
}

fn frame(sequence: u64) -> Vec<u8> {
    let mut chunks = Chunks::new();
    wire::encode(&envelope(CLUSTER, sequence, 9), &mut chunks).expect("within the limits");
    chunks.copy_to_bytes(chunks.remaining()).to_vec()
}

/// Reads until the other side closes; `false` when it does not.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.is_ok()
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

/// What went wrong: it was kept for ever, and after sixteen of them no new member was let in.
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
    (hello[4], hello[6]) = (2, 3);
    hello
}

#[tokio::test]
async fn connections_that_are_no_peers_are_closed_and_the_member_goes_on() {
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
    wire::keep_alive(ClusterId(8), &mut foreign);
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

/// What went wrong: each hello of an unknown node took one of the slots for peers for good.
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

/// Reads one frame; a keep-alive has no body.
async fn body_bytes(stream: &mut TcpStream) -> usize {
    let mut prefix = [0; wire::PREFIX_BYTES];
    stream.read_exact(&mut prefix).await.expect("a frame");
    let length = |at: usize| u32::from_le_bytes(prefix[at..at + 4].try_into().expect("four"));
    let mut rest = vec![0; length(4) as usize + length(8) as usize];
    stream.read_exact(&mut rest).await.expect("all of it");
    length(8) as usize
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
