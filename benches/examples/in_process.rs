//! Three members in one process: how many writes per second, and the cost of each.
//!
//! ```sh
//! cargo run --release -p kontiki-benches --example in_process -- --clients 1,64,1024 --workers 1,2
//! ```
//!
//! Each client is a task that proposes one command after another. On a machine that other programs
//! use, the rate says little; the processor time of a write is more stable, and two builds should
//! be run in turns. The latency is measured for one of sixteen proposals, because reading the clock
//! takes a sixth of the time of a write. A memory log keeps everything that is written, so every
//! row starts a cluster of its own.

#[path = "shared/mod.rs"]
mod shared;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kontiki::{InProcessNetwork, LogConfig, Membership, Node, NodeConfig, NodeId};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use shared::{Nothing, find_leader};

/// One of this many proposals is timed.
const TIMED_EVERY: u64 = 16;

/// The settings of the command line.
struct Plan {
    log: String,
    io: Option<String>,
    bytes: usize,
    clients: Vec<usize>,
    workers: Vec<usize>,
    seconds: f64,
    rounds: usize,
}

impl Plan {
    /// The settings from each `--name value`. Panics if one is not understood.
    fn from_arguments() -> Plan {
        let numbers = |text: &str| text.split(',').map(|one| one.parse().expect(text)).collect();
        let mut plan = Plan {
            log: "memory".to_owned(),
            io: None,
            bytes: 0,
            clients: vec![1, 64, 256, 1024, 4096],
            workers: vec![1],
            seconds: 1.0,
            rounds: 1,
        };
        let mut arguments = std::env::args().skip(1);
        while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
            match name.as_str() {
                "--log" => plan.log = value,
                "--io" => plan.io = Some(value),
                "--bytes" => plan.bytes = value.parse().expect("a size"),
                "--clients" => plan.clients = numbers(&value),
                "--workers" => plan.workers = numbers(&value),
                "--seconds" => plan.seconds = value.parse().expect("seconds"),
                "--rounds" => plan.rounds = value.parse().expect("a number"),
                other => {
                    panic!("{other}: --log --io --bytes --clients --workers --seconds --rounds")
                }
            }
        }
        plan
    }
}

fn main() {
    let plan = Plan::from_arguments();
    println!(
        "log     workers clients  writes/s   p50 us   p99 us  us/write  sleeps/write  a group"
    );
    for _ in 0..plan.rounds {
        for workers in &plan.workers {
            for clients in &plan.clients {
                println!("{}", measure(&plan, *workers, *clients));
            }
        }
    }
}

/// One row of the table.
fn measure(plan: &Plan, workers: usize, clients: usize) -> String {
    let runtime = runtime(workers);
    let files = tempfile::tempdir().expect("a directory");
    let nodes = runtime.block_on(start_members(plan, &files));
    let leader = runtime.block_on(find_leader(&nodes));
    let command = Bytes::from(vec![7; plan.bytes]);
    // A short run first, to warm up the caches of the allocator and the processor.
    runtime.block_on(load(&leader, &command, clients, plan.seconds / 10.0));
    let (before, began) = (Used::now(), Instant::now());
    let (writes, mut times) = runtime.block_on(load(&leader, &command, clients, plan.seconds));
    let (elapsed, after) = (began.elapsed(), Used::now());
    let counters = leader.status().counters.clone();
    runtime.block_on(async {
        for node in &nodes {
            node.shutdown().await;
        }
    });
    times.sort_unstable();
    let quantile = |part: f64| {
        let at = (times.len() as f64 * part) as usize;
        times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    };
    format!(
        "{:<7} {workers:>7} {clients:>7} {:>9.0} {:>8.1} {:>8.1} {:>9.3} {:>13.3} {:>8.1}",
        plan.log,
        writes as f64 / elapsed.as_secs_f64(),
        quantile(0.5),
        quantile(0.99),
        (after.cpu - before.cpu).as_secs_f64() * 1e6 / writes as f64,
        (after.sleeps - before.sleeps) as f64 / writes as f64,
        counters.entries_written as f64 / counters.writes as f64,
    )
}

fn runtime(workers: usize) -> Runtime {
    let mut builder = match workers {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(workers).enable_all().build().expect("a runtime")
}

/// Lets the clients propose until the time is over. Returns the number of writes, and the latencies
/// of the timed ones.
async fn load(
    leader: &Node,
    command: &Bytes,
    clients: usize,
    seconds: f64,
) -> (u64, Vec<Duration>) {
    let is_over = Arc::new(AtomicBool::new(false));
    let client = |_| {
        let (node, command, is_over) = (leader.clone(), command.clone(), Arc::clone(&is_over));
        tokio::spawn(async move {
            let (mut writes, mut times) = (0, Vec::new());
            while !is_over.load(Ordering::Relaxed) {
                let began = (writes % TIMED_EVERY == 0).then(Instant::now);
                node.propose(command.clone()).await.expect("the leader stays");
                times.extend(began.map(|began| began.elapsed()));
                writes += 1;
            }
            (writes, times)
        })
    };
    let clients: Vec<_> = (0..clients).map(client).collect();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    is_over.store(true, Ordering::Relaxed);
    let (mut writes, mut times) = (0, Vec::new());
    for client in clients {
        let (own, mut some) = client.await.expect("no client fails");
        writes += own;
        times.append(&mut some);
    }
    (writes, times)
}

/// What the threads of this process have used, as Linux counts it.
#[derive(Clone, Copy, Default)]
struct Used {
    cpu: Duration,
    /// How often a thread went to sleep.
    sleeps: u64,
}

impl Used {
    fn now() -> Used {
        let threads = std::fs::read_dir("/proc/self/task").expect("a Linux system");
        let threads = threads.filter_map(|thread| Used::by_thread(&thread.ok()?.path()));
        threads.fold(Used::default(), |sum, thread| Used {
            cpu: sum.cpu + thread.cpu,
            sleeps: sum.sleeps + thread.sleeps,
        })
    }

    fn by_thread(thread: &Path) -> Option<Used> {
        let cpu = std::fs::read_to_string(thread.join("schedstat")).ok()?;
        let cpu = Duration::from_nanos(cpu.split(' ').next()?.parse().ok()?);
        let status = std::fs::read_to_string(thread.join("status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?;
        Some(Used { cpu, sleeps: line.split_whitespace().last()?.parse().ok()? })
    }
}

async fn start_members(plan: &Plan, files: &TempDir) -> Vec<Node> {
    let ids: Vec<NodeId> = (1..=3).filter_map(NodeId::new).collect();
    let members = ids.iter().map(|id| (*id, Bytes::new()));
    let membership = Membership::of_voters(members).expect("sound");
    let network = InProcessNetwork::new();
    let mut nodes = Vec::new();
    for id in ids {
        let log = LogConfig::from_name(&plan.log, files.path().join(id.to_string()));
        let log = log.and_then(|log| match &plan.io {
            Some(io) => log.with_io(io),
            None => Ok(log),
        });
        let mut log = log.expect("compiled in").open().expect("a new log");
        let identity = kontiki::bootstrap(log.as_mut(), "bench", id, &membership).await;
        identity.expect("a blank log");
        let (config, transport) = (NodeConfig::default(), network.transport());
        let node = Node::start(config, log, transport, Box::new(Nothing)).await;
        nodes.push(node.expect("it starts"));
    }
    nodes
}
