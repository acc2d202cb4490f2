//! `kontiki member`.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{wait_for_role, wait_until_caught_up};
use crate::members::{Cluster, Member, cluster, has_file_log, stop_all};
use crate::tool::{eventually, failure, kontiki, text};

/// A cluster of three, with an entry.
fn three() -> (TempDir, Cluster, Vec<Member>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let members = cluster.start(&["--bootstrap"]);
    members[0].wait_for("there is a leader");
    assert_eq!(cluster.ask(&["put", "a", "1"]), "OK\n");
    (dir, cluster, members)
}

fn join(cluster: &Cluster, at: u16) -> Member {
    let member = Member::start(&cluster.joining(at, &cluster.endpoints()));
    member.wait_for("joined the cluster as a learner");
    wait_until_caught_up(cluster, &cluster.client(at));
    member
}

fn list(cluster: &Cluster) -> Vec<Value> {
    let list: Value =
        serde_json::from_str(&cluster.ask(&["member", "list", "--json"])).expect("JSON");
    list["members"].as_array().expect("a list").clone()
}

#[test]
fn a_cluster_grows_to_five_and_shrinks_to_three() {
    if !has_file_log() {
        return;
    }
    let (_dir, cluster, mut members) = three();
    members.push(join(&cluster, 4));
    members.push(join(&cluster, 5));

    // Without a terminal, a change has to be confirmed by a flag; the plan is shown in any case.
    let endpoints = cluster.endpoints();
    let unconfirmed = ["member", "promote", "4", "5", "--endpoints", &endpoints];
    let said = failure(&unconfirmed);
    assert!(said.contains("the change to voters 1, 2, 3, 4, 5 was not confirmed"), "{said}");
    let plan = cluster.ask(&["member", "promote", "4", "5", "--dry-run"]);
    assert!(plan.contains("target: voters 1, 2, 3, 4, 5\n  1. member 4 is brought"), "{plan}");
    assert_eq!(list(&cluster).iter().filter(|one| one["learner"] == true).count(), 2);

    let done = cluster.ask(&["member", "promote", "4", "5", "--yes"]);
    assert!(done.ends_with("done:   voters 1, 2, 3, 4, 5\n"), "{done}");
    wait_for_role(&cluster.client(5), "follower");
    let again = cluster.ask(&["member", "promote", "4", "5", "--yes"]);
    assert_eq!(again, "nothing to do: voters 1, 2, 3, 4, 5\n");
    let demoted = cluster.ask(&["member", "demote", "5", "--yes", "--json"]);
    let demoted: Value = serde_json::from_str(&demoted).expect("JSON");
    assert_eq!(
        (&demoted["changed"], &demoted["members"][4]["learner"]),
        (&true.into(), &true.into())
    );
    wait_for_role(&cluster.client(5), "learner");

    let done = cluster.ask(&["member", "remove", "4", "5", "--yes"]);
    assert!(done.ends_with("done:   voters 1, 2, 3\n"), "{done}");
    for member in members.drain(3..) {
        member.wait_for("was removed from the cluster");
        assert_eq!(member.ended(), Some(1));
    }
    let said = failure(&["member", "promote", "9", "--yes", "--endpoints", &endpoints]);
    assert!(said.contains("the cluster has no member 9"), "{said}");
    assert_eq!(cluster.ask(&["get", "a"]), "1\n");
    stop_all(members);
}

/// The rows 8 and 12 of what users complain about: a wiped member under its old id.
#[test]
fn a_member_whose_disk_was_wiped_is_refused_and_replaced_by_one_command() {
    if !has_file_log() {
        return;
    }
    let (_dir, cluster, mut members) = three();
    assert_eq!(members.remove(1).stop(), Some(0));
    std::fs::remove_dir_all(cluster.own_dir(2)).expect("removed");
    let flags = cluster.flags(2, "demo");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let said = failure(&[&["serve"], &flags[..]].concat());
    assert!(said.contains("kontiki member replace"), "{said}");
    // Not even the flag that creates a cluster brings it back: the others know its store.
    let wiped = Member::start(&[cluster.flags(2, "demo"), vec!["--bootstrap".to_owned()]].concat());
    wiped.wait_for("listening");
    let find = |words: &str| members.iter().any(|member| member.has_said(words));
    eventually("it is refused", || find("it has lost its log").then_some(()));
    drop(wiped);
    std::fs::remove_dir_all(cluster.own_dir(2)).expect("removed");

    let endpoints = cluster.endpoints();
    let said = failure(&["member", "replace", "2", "--yes", "--endpoints", &endpoints]);
    assert!(said.contains("no learner has joined"), "{said}");
    // On the same machine, at the same addresses.
    let replacement = Member::start(&cluster.joining(2, &cluster.endpoints()));
    replacement.wait_for("joined the cluster as a learner");
    let done = cluster.ask(&["member", "replace", "2", "--yes"]);
    assert!(done.ends_with("done:   voters 1, 3, 4\n"), "{done}");
    members.push(replacement);
    wait_for_role(&cluster.client(2), "follower");
    assert_eq!(cluster.ask(&["get", "a"]), "1\n");
    stop_all(members);
}

#[test]
fn a_member_moves_to_other_addresses_while_the_cluster_runs() {
    if !has_file_log() {
        return;
    }
    let (_dir, cluster, mut members) = three();
    assert_eq!(members.remove(2).stop(), Some(0));
    let (peer, client) = (cluster.peer(4), cluster.client(4));
    let to = ["member", "set-address", "3", "--peer", &peer, "--client", &client, "--yes"];
    let done = cluster.ask(&to);
    assert!(done.contains("member 3 is reached elsewhere"), "{done}");
    assert_eq!(
        (&list(&cluster)[2]["peer"], &list(&cluster)[2]["client"]),
        (&Value::from(&*peer), &Value::from(&*client),)
    );
    // The other two were started with the old address in their flags.
    let dir = cluster.own_dir(3);
    let flags = ["--dir", &dir, "--listen-client", &client, "--listen-peer", &peer];
    members.push(Member::start(&flags.map(str::to_owned)));
    wait_until_caught_up(&cluster, &client);
    assert_eq!(cluster.ask(&["put", "a", "2"]), "OK\n");
    wait_until_caught_up(&cluster, &client);
    stop_all(members);
}

#[test]
fn a_change_is_cancelled_with_ctrl_c() {
    if !has_file_log() {
        return;
    }
    let (_dir, cluster, members) = three();
    assert_eq!(join(&cluster, 4).stop(), Some(0));
    assert_eq!(cluster.ask(&["put", "a", "2"]), "OK\n");
    let child = Command::new(env!("CARGO_BIN_EXE_kontiki"))
        .args(["member", "promote", "4", "--yes", "--endpoints", &cluster.endpoints()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    eventually("the change has begun", || {
        let status = cluster.ask(&["status", "--json"]);
        status.contains("\"stage\":\"catching-up\"").then_some(())
    });
    let pid = Pid::from_raw(child.id() as i32).expect("a process");
    kill_process(pid, Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let said = text(&output.stderr);
    assert!(said.contains("asked the leader to give the change up"), "{said}");
    assert!(said.contains("error: the change was cancelled"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    let plan = cluster.ask(&["member", "remove", "4", "--yes"]);
    assert!(plan.ends_with("done:   voters 1, 2, 3\n"), "{plan}");
    let left = kontiki(&["member", "list", "--endpoints", &cluster.endpoints()]);
    assert_eq!(text(&left.stdout).lines().count(), 4, "{left:?}");
    stop_all(members);
}
