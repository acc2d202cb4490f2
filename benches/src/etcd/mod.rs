//! The work `etcd`: puts to any server of etcd's v3 API, a real etcd or ours.
//!
//! The connections are spread over the endpoints, and the clients over the connections. If this
//! program started the servers itself (see [`servers`]), the rows also have their processor time
//! and the floor of their disk.

pub mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kontiki_etcd::Client;
use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::api::etcdserverpb::maintenance_client::MaintenanceClient;
use kontiki_etcd::api::etcdserverpb::{PutRequest, StatusRequest, StatusResponse};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use crate::cluster::{Proposer, run_clients, runtime};
use crate::lane::{Lane, POWER_LOSS, Role, Stop, Subject, Tally};
use crate::measure::{Work, check_time, measure};
use crate::meter::{Spent, spent_by_process};
use crate::{BenchError, Progress, Row, Workload, incompressible};

/// The most connections.
pub const MAX_CONNECTIONS: u16 = 1024;

/// The number of keys that are written to, one after another.
const KEYS: u64 = 10_000;

/// How long an endpoint may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Which server is measured, and under which workloads.
#[derive(Clone, Debug, PartialEq)]
pub struct EtcdPlan {
    /// Where the server accepts clients: `host:port` or a URL.
    pub endpoints: Vec<String>,
    /// The connections, spread over the endpoints.
    pub connections: usize,
    /// The workloads, one after another. A batch is a number of puts that are sent at once.
    pub workloads: Vec<Workload>,
    /// The time for the whole measurement.
    pub time: Duration,
}

impl EtcdPlan {
    /// Refuses a plan that cannot be measured, before anything is sent.
    pub fn check(&self) -> Result<(), BenchError> {
        self.workloads.iter().try_for_each(Workload::check)?;
        if self.endpoints.is_empty() {
            return Err(BenchError::options(
                "no endpoint is named",
                "name at least one, as in --endpoints 127.0.0.1:2379",
            ));
        }
        if !(1..=usize::from(MAX_CONNECTIONS)).contains(&self.connections) {
            return Err(BenchError::options(
                format!("--connections {} cannot be opened", self.connections),
                format!("choose from 1 to {MAX_CONNECTIONS}"),
            ));
        }
        check_time(self.time)
    }
}

/// Measures one workload after another, and returns a row for each.
pub fn run(plan: &EtcdPlan, stop: &Stop, progress: &mut Progress) -> Result<Vec<Row>, BenchError> {
    plan.check()?;
    let work = Work { name: "etcd", workloads: &plan.workloads, time: plan.time };
    measure(work, stop, progress, &mut |workload, _| {
        let lane = EtcdLane::connect(&plan.endpoints, plan.connections, workload)?;
        Ok(vec![Box::new(lane) as Box<dyn Lane>])
    })
}

/// A server under a workload.
pub struct EtcdLane {
    runtime: Runtime,
    load: Load,
    workload: Workload,
    subject: Subject,
    /// The processes of the servers, if they run on this machine.
    pids: Vec<u32>,
}

impl EtcdLane {
    /// Connects, and asks the server for its name.
    pub fn connect(
        endpoints: &[String],
        connections: usize,
        workload: &Workload,
    ) -> Result<EtcdLane, BenchError> {
        let runtime = runtime(1)?;
        let (load, subject) = runtime.block_on(async {
            let load = Load::connect(endpoints, connections, workload.size).await?;
            let subject = ask_subject(&endpoints[0], load.all.channels[0].clone()).await?;
            Ok::<_, BenchError>((load, subject))
        })?;
        Ok(EtcdLane { runtime, load, workload: workload.clone(), subject, pids: Vec::new() })
    }

    /// Counts the processor time of these processes, and sets the name of the subject if one is
    /// given.
    pub fn of_servers(mut self, name: Option<String>, pids: Vec<u32>) -> EtcdLane {
        self.subject.name = name.unwrap_or(self.subject.name);
        EtcdLane { pids, ..self }
    }
}

impl Lane for EtcdLane {
    fn subject(&self) -> Subject {
        self.subject.clone()
    }

    fn spent(&self) -> Spent {
        let spent = self.pids.iter().map(|pid| spent_by_process(*pid));
        spent.fold(Spent::none(), |sum, more| sum + more)
    }

    fn turn(&mut self, time: Duration, stop: &Stop) -> Result<Tally, BenchError> {
        let before = self.spent();
        let (load, value) = (self.load.clone(), self.load.all.value.clone());
        let mut tally = self.runtime.block_on(run_clients(load, value, &self.workload, time, stop));
        // The bytes of answers and of disk writes are in the same counter, so the bytes written to
        // disk are unknown.
        let cpu = (self.spent() - before).cpu;
        tally.spent = Spent { cpu, handed: None, written: None };
        match tally.entries == 0 && tally.failures > 0 {
            true => Err(BenchError::failed(
                format!("putting to {}", self.subject.name),
                self.load.all.last_failure(),
            )),
            false => Ok(tally),
        }
    }
}

/// One client. A clone of it is another client, on the next connection.
struct Load {
    all: Arc<Connections>,
    client: KvClient<Channel>,
}

struct Connections {
    channels: Vec<Channel>,
    next: AtomicUsize,
    key: AtomicU64,
    value: Bytes,
    failure: std::sync::Mutex<String>,
}

impl Load {
    async fn connect(
        endpoints: &[String],
        connections: usize,
        size: usize,
    ) -> Result<Load, BenchError> {
        let mut channels = Vec::with_capacity(connections);
        for endpoint in endpoints.iter().cycle().take(connections.max(endpoints.len())) {
            channels.push(connect(endpoint).await?);
        }
        let client = KvClient::new(channels[0].clone());
        let all = Connections {
            channels,
            next: AtomicUsize::new(0),
            key: AtomicU64::new(0),
            value: Bytes::from(incompressible(size)),
            failure: std::sync::Mutex::default(),
        };
        Ok(Load { all: Arc::new(all), client })
    }

    fn request(&self, value: Bytes) -> PutRequest {
        let key = self.all.key.fetch_add(1, Ordering::Relaxed) % KEYS;
        PutRequest { key: format!("bench/{key:08}").into(), value, ..PutRequest::default() }
    }
}

impl Connections {
    fn last_failure(&self) -> String {
        let failure = self.failure.lock().map(|failure| failure.clone()).unwrap_or_default();
        format!("no put was answered; the last answer: {failure}")
    }
}

impl Clone for Load {
    fn clone(&self) -> Load {
        let next = self.all.next.fetch_add(1, Ordering::Relaxed) % self.all.channels.len();
        let client = KvClient::new(self.all.channels[next].clone());
        Load { all: Arc::clone(&self.all), client }
    }
}

impl Proposer for Load {
    const TIMED: u64 = 1;

    async fn propose(&self, value: Bytes) -> bool {
        let put = self.client.clone().put(self.request(value)).await;
        if let Err(status) = &put
            && let Ok(mut failure) = self.all.failure.lock()
        {
            status.message().clone_into(&mut failure);
        }
        put.is_ok()
    }

    async fn propose_many(&self, value: Bytes, count: u64) -> u64 {
        let put = |_| {
            let (load, value) = (self.clone(), value.clone());
            tokio::spawn(async move { load.propose(value).await })
        };
        let puts: Vec<_> = (0..count).map(put).collect();
        let mut answered = 0;
        for put in puts {
            answered += u64::from(put.await.unwrap_or(false));
        }
        answered
    }
}

/// A connection to one endpoint.
pub async fn connect(endpoint: &str) -> Result<Channel, BenchError> {
    let url = match endpoint.contains("://") {
        true => endpoint.to_owned(),
        false => format!("http://{endpoint}"),
    };
    let parsed = Endpoint::from_shared(url).map_err(|_| {
        BenchError::options(
            format!("the endpoint {endpoint:?} is not an address"),
            "write host:port or http://host:port",
        )
    })?;
    let connected = parsed.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true).connect().await;
    connected.map_err(|error| {
        BenchError::options(
            format!("nothing accepts connections at {endpoint}: {}", innermost(&error)),
            "is the server up? Name its client addresses with --endpoints",
        )
    })
}

/// What a server reports about itself, or `None` if it does not answer.
pub async fn status(channel: Channel) -> Option<StatusResponse> {
    let asked = MaintenanceClient::new(channel).status(StatusRequest {}).await;
    asked.ok().map(tonic::Response::into_inner)
}

/// The name of the server: ours reports the backend of its log, others their version.
async fn ask_subject(endpoint: &str, channel: Channel) -> Result<Subject, BenchError> {
    let failed = |error| BenchError::failed(format!("asking {endpoint}"), error);
    let ours = Client::new([endpoint]).map_err(|error| failed(error.to_string()))?.status().await;
    let ours = ours.into_iter().find_map(|answer| answer.status.ok());
    let members = ours.as_ref().map_or(0, |status| status.members.len() as u64);
    let (name, durability) = match ours {
        Some(status) => {
            (format!("kontiki, {} log", status.backend), durability_of(&status.backend))
        }
        None => {
            let version = status(channel).await.map_or("?".to_owned(), |status| status.version);
            (format!("etcd {version}"), POWER_LOSS)
        }
    };
    Ok(Subject {
        role: Role::Server,
        name,
        durability: durability.to_owned(),
        sync_verb: "the server's".to_owned(),
        members: members.max(1),
    })
}

/// What the server's log survives. The server may have a backend that this build does not have, so
/// this depends on its name alone: only the memory log is volatile.
fn durability_of(backend: &str) -> &'static str {
    match backend {
        "memory" => "volatile",
        _ => POWER_LOSS,
    }
}

/// The innermost cause of an error: "connection refused" says more than "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(endpoints: &[&str]) -> EtcdPlan {
        EtcdPlan {
            endpoints: endpoints.iter().map(|name| (*name).to_owned()).collect(),
            connections: 1,
            workloads: Workload::grid(&[16], &[1], &[1]),
            time: Duration::from_millis(40),
        }
    }

    #[test]
    fn a_server_may_have_a_log_that_this_build_lacks() {
        for backend in ["file", "sqlite", "rocksdb"] {
            assert_eq!(durability_of(backend), POWER_LOSS, "{backend}");
        }
        assert_eq!(durability_of("memory"), "volatile");
    }

    #[test]
    fn a_plan_that_cannot_work_is_refused_by_name() {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = unused.local_addr().expect("bound").to_string();
        drop(unused);
        let run = |plan: &EtcdPlan| run(plan, &Stop::new(), &mut Progress::silent());
        for (plan, says) in [
            (plan(&[]), "no endpoint"),
            (plan(&["not an address"]), "not an address"),
            (plan(&[&address]), &*address),
            (EtcdPlan { connections: 0, ..plan(&["a:1"]) }, "--connections"),
        ] {
            let error = run(&plan).expect_err(says);
            assert!(error.to_string().contains(says), "{error}");
            assert!(!error.advice().is_empty(), "{error}");
        }
    }
}
