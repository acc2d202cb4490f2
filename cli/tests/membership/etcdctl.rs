//! etcd's own client changes the members of a cluster of `kontiki serve` processes.

use std::process::{Command, Output};

use super::{status, wait_for_role, wait_until_caught_up};
use crate::members::{Cluster, Member, cluster, has_file_log};
use crate::tool::{eventually, text};

/// Whether this machine has etcd's client.
fn has_etcdctl() -> bool {
    let found = Command::new("etcdctl").arg("version").output().is_ok();
    let required = std::env::var("KONTIKI_REQUIRE").is_ok_and(|what| what == "all");
    assert!(found || !required, "KONTIKI_REQUIRE=all requires etcdctl");
    if !found {
        println!("skipped: this machine has no etcdctl");
    }
    found
}

fn run(cluster: &Cluster, at: u16, arguments: &[&str]) -> Output {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", &cluster.client(at)]);
    command.args(arguments).output().expect("it starts")
}

/// What the client prints when a request at this member succeeds.
fn done(cluster: &Cluster, at: u16, arguments: &[&str]) -> String {
    let output = run(cluster, at, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What the client prints when a request at this member is refused.
fn refused(cluster: &Cluster, at: u16, arguments: &[&str]) -> String {
    let output = run(cluster, at, arguments);
    assert!(!output.status.success(), "{arguments:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

/// The member that leads, and one that does not.
fn leader_and_other(cluster: &Cluster) -> (u16, u16) {
    eventually("a leader", || {
        let leads =
            |id: &u16| status(&cluster.client(*id)).is_some_and(|one| one["role"] == "leader");
        let leader = (1..=3).find(leads)?;
        Some((leader, leader % 3 + 1))
    })
}

#[test]
fn etcdctl_adds_updates_promotes_and_removes_members() {
    if !has_file_log() || !has_etcdctl() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let mut members = cluster.start(&["--bootstrap"]);
    let (leader, other) = leader_and_other(&cluster);
    let peer = |id| format!("--peer-urls=http://{}", cluster.peer(id));

    // A learner is added before it starts, through a member that does not lead.
    let added = done(&cluster, other, &["member", "add", "four", &peer(4), "--learner"]);
    assert!(added.starts_with("Member                4 added to cluster"), "{added}");
    let listed = done(&cluster, other, &["member", "list"]);
    let line = format!("4, unstarted, , http://{}, , true", cluster.peer(4));
    assert!(listed.contains(&line), "{listed}");
    let said = refused(&cluster, other, &["member", "promote", "4"]);
    let text = "etcdserver: can only promote a learner member which is in sync with leader";
    assert!(said.contains(text), "{said}");
    let said = refused(&cluster, leader, &["member", "add", "again", &peer(4)]);
    assert!(said.contains("etcdserver: Peer URLs already exists"), "{said}");

    // It finds its id by its address.
    members.push(Member::start(&cluster.joining(4, &cluster.endpoints())));
    wait_for_role(&cluster.client(4), "learner");
    wait_until_caught_up(&cluster, &cluster.client(4));
    let promoted = done(&cluster, other, &["member", "promote", "4"]);
    assert!(promoted.starts_with("Member                4 promoted"), "{promoted}");
    wait_for_role(&cluster.client(4), "follower");
    let said = refused(&cluster, other, &["member", "promote", "4"]);
    assert!(said.contains("etcdserver: can only promote a learner member"), "{said}");

    // A voter becomes one by itself, once it has the log.
    let added = done(&cluster, other, &["member", "add", "five", &peer(5)]);
    assert!(added.starts_with("Member                5 added to cluster"), "{added}");
    assert!(added.contains("ETCD_INITIAL_CLUSTER_STATE=\"existing\""), "{added}");
    members.push(Member::start(&cluster.joining(5, &cluster.endpoints())));
    wait_for_role(&cluster.client(5), "follower");

    let moved = cluster.peer(6);
    let update = format!("--peer-urls=http://{moved}");
    done(&cluster, other, &["member", "update", "5", &update]);
    assert!(done(&cluster, leader, &["member", "list"]).contains(&moved));
    done(&cluster, other, &["member", "remove", "5"]);
    let five = members.pop().expect("it was started");
    five.wait_for("was removed from the cluster");
    assert_eq!(five.ended(), Some(1));
    for request in [&["remove", "5"][..], &["promote", "9"], &["update", "9", &update]] {
        let said = refused(&cluster, leader, &[&["member"], request].concat());
        assert!(said.contains("etcdserver: member not found"), "{request:?}: {said}");
    }
    let said = refused(&cluster, leader, &["member", "add", "six", "--peer-urls=https://a:1"]);
    assert!(said.contains("etcdserver: given member URLs are invalid"), "{said}");

    remove_all_but_one(&cluster, members, leader, other);
}

/// The leader removes itself, then the others remove themselves one by one.
fn remove_all_but_one(cluster: &Cluster, mut members: Vec<Member>, leader: u16, other: u16) {
    done(cluster, leader, &["member", "remove", &leader.to_string()]);
    let gone = members.remove(usize::from(leader) - 1);
    gone.wait_for("was removed from the cluster");
    assert_eq!(gone.ended(), Some(1));
    let left = done(cluster, other, &["member", "list"]);
    assert_eq!(left.lines().count(), 3, "{left}");

    // The last voter cannot be removed.
    let mut last = other;
    for id in (1..=4).filter(|id| *id != leader && *id != other) {
        done(cluster, last, &["member", "remove", &last.to_string()]);
        last = id;
    }
    let said = refused(cluster, last, &["member", "remove", &last.to_string()]);
    let text = "etcdserver: re-configuration failed due to not enough started members";
    assert!(said.contains(text), "{said}");
    let place = if last > leader { last - 2 } else { last - 1 };
    assert_eq!(members.remove(usize::from(place)).stop(), Some(0));
    for removed in members {
        assert_eq!(removed.ended(), Some(1));
    }
}
