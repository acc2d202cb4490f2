//! Snapshots of running members: by policy, by hand, and the restart from one.

use serde_json::Value;

use crate::members::{Cluster, Member, cluster, has_file_log, stop_all};
use crate::tool::{eventually, failure, kontiki, text};

/// The newest snapshot of each member, once every member has one that includes this entry.
fn newest(cluster: &Cluster, at_least: u64) -> Vec<Value> {
    eventually("every member has a snapshot", || {
        let status = cluster.ask(&["status", "--json"]);
        let status: Value = serde_json::from_str(&status).expect("it is JSON");
        let members = status["members"].as_array().expect("a list").clone();
        let newest: Vec<Value> = members.iter().map(|member| member["snapshot"].clone()).collect();
        let has_it = |one: &Value| one["index"].as_u64().is_some_and(|index| index >= at_least);
        newest.iter().all(has_it).then_some(newest)
    })
}

#[test]
fn members_take_snapshots_and_start_from_the_newest_one() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let policy = ["--snapshot-entries", "20", "--kept-entries", "5"];
    let members = cluster.start(&[&["--bootstrap"], &policy[..]].concat());
    let put = |key: &str| assert_eq!(cluster.ask(&["put", key, "a value"]), "OK\n");
    (0..30).for_each(|number| put(&format!("k{number:02}")));
    for snapshot in newest(&cluster, 20) {
        assert!(snapshot["bytes"].as_u64().is_some_and(|bytes| bytes > 20 * 50), "{snapshot}");
    }

    put("last");
    cluster.ask(&["get", "last"]);
    let taken = cluster.ask(&["snapshot"]);
    let lines: Vec<&str> = taken.lines().collect();
    assert_eq!(lines.len(), 3, "{taken}");
    for (id, line) in (1..).zip(&lines) {
        let begin = format!("{}: member {id}, up to entry ", cluster.client(id));
        assert!(line.starts_with(&begin) && line.contains(" bytes, taken in 0."), "{line}");
    }
    let again = cluster.ask(&["snapshot", "--json"]);
    assert!(again.contains(r#""was_there":true"#), "{again}");
    let last = newest(&cluster, 32)[0]["index"].as_u64().expect("a number");
    stop_all(members);

    let shown = kontiki(&["log", "verify", &cluster.own_dir(1)]);
    assert!(text(&shown.stdout).contains(&format!("up to {last}@")), "{shown:?}");
    // The log was purged behind it, the first entry with the members included.
    let shown = kontiki(&["log", "show", &cluster.own_dir(1), "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("it is JSON");
    assert!(shown["boundary"]["index"].as_u64().is_some_and(|index| index > 1), "{shown}");
    let mut other = cluster.flags(1, "demo");
    other[1] = "2".to_owned();
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    let said = failure(&[&["serve"], &other[..]].concat());
    assert!(said.contains("is member 1, and the settings say 2"), "{said}");

    let start = |id| Member::start(&["--dir".to_owned(), cluster.own_dir(id)]);
    let members: Vec<Member> = (1..=3).map(start).collect();
    for member in &members {
        member.wait_for("the state was restored from a snapshot");
    }
    let all = cluster.ask(&["get", "--prefix", "k"]);
    assert_eq!(all.lines().count(), 30, "{all}");
    assert_eq!(cluster.ask(&["get", "last"]), "a value\n");
    stop_all(members);
}

#[test]
fn a_member_without_a_directory_takes_no_snapshots() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let members = cluster.start(&["--bootstrap", "--backend", "memory"]);
    assert_eq!(cluster.ask(&["put", "a", "1"]), "OK\n");
    let refused = kontiki(&["snapshot", "--endpoints", &cluster.client(1)]);
    let said = text(&refused.stdout);
    assert!(said.contains("took no snapshot: this member takes no snapshots"), "{said}");
    assert_eq!(refused.status.code(), Some(1));
    stop_all(members);
}
