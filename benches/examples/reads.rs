//! How many reads one client gets per second at the leader of three members, by ReadIndex and by
//! lease, in one process and over TCP.
//!
//! ```sh
//! cargo run --release -p kontiki-benches --example reads -- --seconds 2 --rounds 3
//! ```
//!
//! Each read waits for the one before it. The rows of a round are measured in turns, since other
//! programs on the machine change the rates.

#[path = "shared/mod.rs"]
mod shared;

use std::time::Instant;

use bytes::Bytes;
use kontiki::{
    Consistency, InProcessNetwork, LogConfig, Membership, Node, NodeConfig, NodeId, TcpOptions,
    TcpTransport, Timing, Transport,
};
use tokio::runtime::Builder;

use shared::{Nothing, find_leader};

fn main() {
    let (mut seconds, mut rounds) = (2.0, 3);
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        match name.as_str() {
            "--seconds" => seconds = value.parse().expect("seconds"),
            "--rounds" => rounds = value.parse().expect("a number"),
            other => panic!("{other}: --seconds --rounds"),
        }
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    println!("peers        ReadIndex/s      lease/s  ratio");
    for _ in 0..rounds {
        for over_tcp in [false, true] {
            println!("{}", runtime.block_on(measure(over_tcp, seconds)));
        }
    }
}

/// One row of the table.
async fn measure(over_tcp: bool, seconds: f64) -> String {
    let nodes = start_members(over_tcp).await;
    let leader = find_leader(&nodes).await;
    for consistency in [Consistency::Linearizable, Consistency::Lease] {
        rate(&leader, consistency, seconds / 10.0).await;
    }
    let read_index = rate(&leader, Consistency::Linearizable, seconds).await;
    let by_lease = rate(&leader, Consistency::Lease, seconds).await;
    for node in &nodes {
        node.shutdown().await;
    }
    let peers = if over_tcp { "TCP" } else { "one process" };
    let ratio = by_lease / read_index;
    format!("{peers:<12} {read_index:>11.0} {by_lease:>12.0} {ratio:>6.1}")
}

/// Reads per second of one client.
async fn rate(leader: &Node, consistency: Consistency, seconds: f64) -> f64 {
    let node = leader.clone();
    let client = tokio::spawn(async move {
        let (began, mut reads) = (Instant::now(), 0u64);
        while began.elapsed().as_secs_f64() < seconds {
            for _ in 0..16 {
                node.read_with(Bytes::new(), consistency).await.expect("the leader stays");
            }
            reads += 16;
        }
        reads as f64 / began.elapsed().as_secs_f64()
    });
    client.await.expect("no client fails")
}

async fn start_members(over_tcp: bool) -> Vec<Node> {
    let ids: Vec<NodeId> = (1..=3).filter_map(NodeId::new).collect();
    let network = InProcessNetwork::new();
    let (mut members, mut transports) = (Vec::new(), Vec::new());
    for id in &ids {
        let transport: Box<dyn Transport> = if over_tcp {
            let bound = TcpTransport::bind("127.0.0.1:0", TcpOptions::default());
            let bound = bound.expect("a free port");
            members.push((*id, Bytes::from(bound.local_address().to_string())));
            Box::new(bound)
        } else {
            members.push((*id, Bytes::new()));
            network.transport()
        };
        transports.push(transport);
    }
    let membership = Membership::of_voters(members).expect("sound");
    let mut nodes = Vec::new();
    for (id, transport) in ids.into_iter().zip(transports) {
        let mut log = LogConfig::from_name("memory", "").expect("a name").open().expect("a log");
        let identity = kontiki::bootstrap(log.as_mut(), "reads", id, &membership).await;
        identity.expect("a blank log");
        let timing = Timing { lease_drift: Some(10), ..Timing::default() };
        let config = NodeConfig { timing, ..NodeConfig::default() };
        let node = Node::start(config, log, transport, Box::new(Nothing)).await;
        nodes.push(node.expect("it starts"));
    }
    nodes
}
