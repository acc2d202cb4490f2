//! Every member of a loaded cluster is replaced, and no client sees a failed request.
//!
//! The rule by which a client repeats a request: one that was certainly not carried out is sent
//! again by the client library itself. One whose outcome is unknown (its connection broke, because
//! the process of a removed member ended) is repeated only because putting the same value under the
//! client's own key twice is the same as once. Every other error is a failure, and so is a read
//! that does not return what was acknowledged last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kontiki_etcd::Client;
use kontiki_etcd::api::etcdserverpb::RangeRequest;
use kontiki_etcd::client::ClientError;

use super::{wait_for_role, wait_until_caught_up};
use crate::members::{Cluster, Member, cluster, has_file_log, stop_all};
use crate::tool::{eventually, kontiki, text};

/// How many clients write and read at the same time.
const CLIENTS: u64 = 16;

/// The time limit of one request; an election takes a small part of it.
const REQUEST: Duration = Duration::from_secs(20);

/// What the clients have done.
#[derive(Debug, Default)]
struct Counts {
    is_over: AtomicBool,
    done: AtomicU64,
    repeated: AtomicU64,
}

/// Clients that write and read until they are told to end.
struct Load {
    counts: Arc<Counts>,
    clients: JoinHandle<()>,
}

impl Load {
    fn start(endpoints: Vec<String>) -> Load {
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let clients = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("it starts").block_on(async {
                let clients = (0..CLIENTS).map(|number| {
                    let client = Client::new(&endpoints).expect("endpoints");
                    tokio::spawn(run(number, client.with_timeout(REQUEST), Arc::clone(&shared)))
                });
                for client in clients.collect::<Vec<_>>() {
                    client.await.expect("no request has failed");
                }
            });
        });
        Load { counts, clients }
    }

    /// Waits until so many more requests are done, so that each step has traffic.
    fn wait_for(&self, more: u64) {
        let goal = self.counts.done.load(Ordering::Relaxed) + more;
        eventually("requests are carried out", || {
            assert!(!self.clients.is_finished(), "a request has failed");
            (self.counts.done.load(Ordering::Relaxed) >= goal).then_some(())
        });
    }

    fn end(self) {
        self.counts.is_over.store(true, Ordering::Relaxed);
        self.clients.join().expect("no request has failed");
        println!("{:?}", self.counts);
    }
}

async fn run(number: u64, mut client: Client, counts: Arc<Counts>) {
    let key = format!("client-{number}");
    for round in 1_u64.. {
        if counts.is_over.load(Ordering::Relaxed) {
            return;
        }
        while let Err(error) = client.put(key.clone(), round.to_string()).await {
            assert!(matches!(error, ClientError::Unknown { .. }), "put {round}: {error}");
            counts.repeated.fetch_add(1, Ordering::Relaxed);
        }
        let request = RangeRequest { key: key.clone().into(), ..RangeRequest::default() };
        let got = client.get(request).await;
        let got = got.unwrap_or_else(|error| panic!("get after put {round}: {error}"));
        let value = got.kvs.first().map(|kv| text(&kv.value));
        assert_eq!(value, Some(round.to_string()), "what was acknowledged is read");
        counts.done.fetch_add(2, Ordering::Relaxed);
    }
}

/// The endpoints at which members listen at some time.
fn endpoints(cluster: &Cluster) -> Vec<String> {
    (1..=5).map(|at| cluster.client(at)).collect()
}

fn change(cluster: &Cluster, arguments: &[&str]) {
    let endpoints = endpoints(cluster).join(",");
    let ask = [&["member"], arguments, &["--yes", "--endpoints", &endpoints]].concat();
    let output = kontiki(&ask);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
}

/// A node joins at a place where none runs.
fn join(cluster: &Cluster, at: u16) -> Member {
    let _ = std::fs::remove_dir_all(cluster.own_dir(at));
    let member = Member::start(&cluster.joining(at, &endpoints(cluster).join(",")));
    member.wait_for("joined the cluster as a learner");
    wait_until_caught_up(cluster, &cluster.client(at));
    member
}

fn wait_until_removed(member: Member) {
    member.wait_for("was removed from the cluster");
    assert_eq!(member.ended(), Some(1));
}

#[test]
fn a_loaded_cluster_grows_shrinks_and_replaces_every_member() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let mut old = cluster.start(&["--bootstrap"]);
    old[0].wait_for("there is a leader");
    let load = Load::start(endpoints(&cluster));
    load.wait_for(200);

    // Three become five, and three again.
    let more = [join(&cluster, 4), join(&cluster, 5)];
    change(&cluster, &["promote", "4", "5"]);
    wait_for_role(&cluster.client(5), "follower");
    load.wait_for(200);
    change(&cluster, &["remove", "4", "5"]);
    more.into_iter().for_each(wait_until_removed);
    load.wait_for(200);

    // Each of the three is replaced; at some point, that is the leader.
    let mut new = Vec::new();
    for (id, at) in [("1", 4), ("2", 5), ("3", 1)] {
        new.push(join(&cluster, at));
        load.wait_for(100);
        change(&cluster, &["replace", id]);
        wait_until_removed(old.remove(0));
        load.wait_for(200);
    }
    load.end();
    let all = kontiki(&["get", "--prefix", "client-", "--endpoints", &cluster.client(4)]);
    assert_eq!(text(&all.stdout).lines().count() as u64, CLIENTS, "{all:?}");
    stop_all(new);
}
