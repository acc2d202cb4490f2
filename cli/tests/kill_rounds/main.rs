//! Kills real processes: no acknowledged write is lost, and every history is linearizable.
//!
//! Three members on the file log serve clients on all endpoints, and write a snapshot every 20
//! entries. In each round one of them, often the leader, and often while it writes a snapshot, is
//! killed with SIGKILL and started again while the clients continue. At the end every acknowledged
//! write must be on every member, the history of each shared key must be linearizable, and the same
//! must hold again after all members were killed at once. No snapshot may ever be damaged.
//!
//! `KONTIKI_ROUNDS` sets the number of rounds (6), `KONTIKI_BACKEND` the log (file).

mod clients;
mod cluster;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clients::{Clients, Record};
use cluster::{Cluster, MEMBERS};

/// The number of writes that must be acknowledged between two kills.
const WRITES_BETWEEN_KILLS: usize = 40;

/// The time limit for the first acknowledged write after a kill, even on a busy machine.
const FAIL_OVER_LIMIT: Duration = Duration::from_secs(15);

/// How long a kill waits for the victim to write a snapshot.
const SNAPSHOT_PATIENCE: Duration = Duration::from_millis(500);

/// The time that the default timeouts aim for; at least half of the fail-overs must be within it.
const FAIL_OVER_GOAL: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "current_thread")]
async fn no_acknowledged_write_is_lost_when_members_are_killed() {
    let rounds = number("KONTIKI_ROUNDS", 6);
    let backend = std::env::var("KONTIKI_BACKEND").unwrap_or_else(|_| "file".to_owned());
    let mut cluster = Cluster::start(&backend).await;
    let clients = Clients::start(&cluster);
    let (mut fail_overs, mut cut_short) = (Vec::new(), 0);
    for round in 0..rounds {
        clients.wait_for_writes(WRITES_BETWEEN_KILLS, FAIL_OVER_LIMIT).await;
        let victim = cluster.choose_victim(round).await;
        cluster.wait_for_unfinished_snapshot(victim, SNAPSHOT_PATIENCE).await;
        cluster.kill(victim);
        cut_short += usize::from(cluster.has_unfinished_snapshot(victim));
        fail_overs.push(clients.wait_for_writes(1, FAIL_OVER_LIMIT).await);
        cluster.start_member(victim);
    }
    clients.wait_for_writes(WRITES_BETWEEN_KILLS, FAIL_OVER_LIMIT).await;
    let mut record = clients.stop().await;
    report(rounds, &mut fail_overs, &record);
    println!("{cut_short} of {rounds} kills cut a snapshot short");
    check_all_members(&cluster, &mut record).await;

    (0..MEMBERS).for_each(|member| cluster.kill(member));
    (0..MEMBERS).for_each(|member| cluster.start_member(member));
    check_all_members(&cluster, &mut record).await;
    check_snapshots(&cluster);
    check_histories(record);
}

fn number(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

fn report(rounds: usize, fail_overs: &mut [Duration], record: &Record) {
    fail_overs.sort_unstable();
    let within = fail_overs.iter().filter(|time| **time <= FAIL_OVER_GOAL).count();
    let (median, longest) = (fail_overs[rounds / 2], fail_overs[rounds - 1]);
    println!(
        "{rounds} kills: a write was served again after {median:.0?} (median), {longest:.0?} \
         (longest), {within} of {rounds} within {FAIL_OVER_GOAL:?}; {} writes acknowledged, \
         {} unknown",
        record.acknowledged.len(),
        record.unknown,
    );
    assert!(median <= FAIL_OVER_GOAL, "half of the fail-overs took longer than {median:?}");
}

/// Checks that every acknowledged write of a key with a single writer is on every member, and adds
/// what every member has in the shared keys to their histories.
async fn check_all_members(cluster: &Cluster, record: &mut Record) {
    for member in 0..MEMBERS {
        let began = Instant::now();
        let shared = cluster.read_all(member, "shared/").await;
        record.note_shared(began, &shared);
        let found: BTreeMap<Vec<u8>, Vec<u8>> = cluster.read_all(member, "own/").await;
        let lost: Vec<_> = record
            .acknowledged
            .iter()
            .filter(|(key, value)| found.get(key.as_bytes()) != Some(&value.as_bytes().to_vec()))
            .collect();
        assert!(lost.is_empty(), "member {} lost {lost:?}", member + 1);
    }
}

/// Checks that every member started from a snapshot after all of them were killed, and has never
/// found a damaged one.
fn check_snapshots(cluster: &Cluster) {
    for member in 0..MEMBERS {
        let said = cluster.said(member);
        let last_start = said.rsplit("listening").nth(1).unwrap_or(&said);
        let restored = last_start.rsplit_once("the state was restored from a snapshot");
        assert!(restored.is_some(), "member {} restored no snapshot:\n{said}", member + 1);
        assert!(!said.contains("damaged"), "member {}:\n{said}", member + 1);
    }
}

/// Checks that every shared key's history is linearizable.
fn check_histories(record: Record) {
    let (count, began) = (record.history.len(), Instant::now());
    if let Err((key, verdict)) = harness::checks::linearizable::check_all(&None, record.history) {
        panic!("the history of {key} is not linearizable: {verdict:?}");
    }
    println!(
        "{count} operations on shared keys are linearizable (checked in {:.1?})",
        began.elapsed()
    );
}
