//! The tool as a user runs it: whole clusters of real processes on the loopback interface.

#[path = "cluster/refusals.rs"]
mod refusals;
#[path = "tool/mod.rs"]
mod tool;
#[path = "cluster/up.rs"]
mod up;

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use tool::{eventually, failure, free_base_port, kontiki, text};
use up::{Up, signal};

fn has_file_log() -> bool {
    cfg!(feature = "file")
}

#[test]
fn a_volatile_cluster_serves_and_restarts_no_dead_member() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let up = Up::start("memory", dir.path(), free_base_port());
    let line = up.wait_for("etcdctl --endpoints=");
    assert!(line.contains(&up.endpoints), "{line}");

    assert_eq!(up.ask(&["put", "a", "1"]), "OK\n");
    assert_eq!(up.ask(&["put", "ab", "2", "--json"]), "{\"revision\":3}\n");
    assert_eq!(up.ask(&["get", "a"]), "1\n");
    assert_eq!(up.ask(&["get", "a", "--prefix"]), "a\t1\nab\t2\n");
    assert_eq!(up.ask(&["del", "a"]), "1\n");
    assert_eq!(up.run(&["get", "a"]).status.code(), Some(1));

    // A follower learns of a commit with the message after it.
    let members = eventually("all three know and apply what is committed", || {
        let knows = |member: &Value| {
            member["commit"].as_u64() > Some(3) && member["applied"].as_u64() > Some(3)
        };
        Some(up.members()).filter(|members| members.iter().all(knows))
    });
    assert_eq!(members.len(), 3);
    for (place, member) in members.iter().enumerate() {
        assert_eq!(member["id"], place + 1);
        assert_eq!(member["endpoint"], format!("127.0.0.1:{}", up.base as usize + 10 * place));
        assert_eq!(member["backend"], "memory");
        assert!(member["pid"].as_u64() > Some(1) && member["term"].as_u64() > Some(0));
    }
    let pids: BTreeSet<u64> = members.iter().filter_map(|member| member["pid"].as_u64()).collect();
    assert_eq!(pids.len(), 3, "each member is its own process");

    let leader = up.leader();
    signal(up.pid_of(leader), Signal::KILL);
    let line = up.wait_for(&format!("member {leader} has ended"));
    assert!(line.contains("not started again: a memory log ends with its process"), "{line}");
    // A proposal that was forwarded to a leader that just died has no known outcome: wait for a new
    // leader.
    assert_ne!(up.leader(), leader);
    assert_eq!(up.ask(&["put", "after", "it"]), "OK\n");
    assert_eq!(up.ask(&["get", "ab"]), "2\n");
    assert_eq!(up.run(&["status"]).status.code(), Some(1), "one does not answer");

    assert_eq!(up.stop(), Some(0));
    assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 0);
}

/// How the log is written may differ at each start, and a killed member continues.
#[test]
fn a_cluster_can_change_from_io_uring_to_threads() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let base = free_base_port();
    let up = Up::start_with(&["--backend", "file", "--io", "ring"], dir.path(), base);
    for number in 0..30 {
        assert_eq!(up.ask(&["put", &format!("key{number}"), "ring"]), "OK\n");
    }
    let follower = up.leader() % 3 + 1;
    signal(up.pid_of(follower), Signal::KILL);
    up.wait_for(&format!("member {follower} has ended"));
    assert_eq!(up.ask(&["put", "meanwhile", "ring"]), "OK\n");
    eventually("it is back, and has all of it", || {
        let members = up.members();
        let applied = |id: u64| members[id as usize - 1]["applied"].as_u64();
        let ended = applied(follower).filter(|at| Some(*at) >= applied(follower % 3 + 1));
        ended.filter(|at| *at > 30)
    });
    assert_eq!(up.stop(), Some(0));

    let up = Up::start_with(&["--io", "thread"], dir.path(), base);
    assert_eq!(up.ask(&["get", "key29"]), "ring\n");
    assert_eq!(up.ask(&["get", "meanwhile"]), "ring\n");
    assert_eq!(up.ask(&["put", "after", "thread"]), "OK\n");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_volatile_cluster_without_a_majority_gives_up() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut up = Up::start("memory", dir.path(), free_base_port());
    let pids = [1, 2].map(|id| up.pid_of(id));
    pids.iter().for_each(|pid| signal(*pid, Signal::KILL));
    let status = eventually("it gives up", || up.process.try_wait().expect("our child"));
    assert_eq!(status.code(), Some(1));
    up.wait_for_free_ports();
}

#[test]
fn the_members_end_with_their_parent() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut up = Up::start("memory", dir.path(), free_base_port());
    up.process.kill().expect("it runs");
    up.process.wait().expect("our child");
    up.wait_for_free_ports();
}

#[test]
fn a_durable_cluster_continues_with_its_data() {
    if !has_file_log() {
        println!("SKIPPED: the file log is not in this build");
        assert!(std::env::var("KONTIKI_REQUIRE").is_err(), "KONTIKI_REQUIRE requires this test");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let base = free_base_port();
    let up = Up::start("file", dir.path(), base);
    assert_eq!(up.ask(&["put", "a", "1"]), "OK\n");
    // However often it is killed, a member that was up restarts without growing pauses.
    let leader = up.leader();
    for kills in 1..=3 {
        let before = up.pid_of(leader);
        signal(before, Signal::KILL);
        eventually("another process answers, and up shows its pid", || {
            let other = up.members()[leader as usize - 1]["pid"].as_u64()?;
            (other != before && up.count(&format!("file  pid {other}  ")) > 0).then_some(())
        });
        let restarts = format!(
            "member {leader} has ended (signal: 9 (SIGKILL)); it is started again in 250 ms"
        );
        assert_eq!(up.count(&restarts), kills);
    }
    assert_eq!(up.ask(&["get", "a"]), "1\n");
    assert_eq!(up.stop(), Some(0));

    let up = Up::start("file", dir.path(), base);
    assert_eq!(up.ask(&["get", "a"]), "1\n");
    let path = dir.path().display().to_string();
    let elsewhere = free_base_port();
    let second = failure(&["up", "--base-port", &elsewhere.to_string(), "--dir", &path]);
    assert!(second.contains("in use by another process"), "{second}");
    assert_eq!(up.stop(), Some(0));

    let up = Up::start("file", dir.path(), elsewhere);
    assert_eq!(up.ask(&["get", "a"]), "1\n", "the same cluster at other ports");
    assert_eq!(up.stop(), Some(0));

    let own = dir.path().join("1").display().to_string();
    let member = |id: u16| format!("{id}=127.0.0.1:{},127.0.0.1:{}", base + id, base + 5 + id);
    let (one, two) = (member(1), member(2));
    let others = failure(&[
        "serve",
        "--id",
        "1",
        "--cluster",
        "another",
        "--dir",
        &own,
        "--member",
        &one,
        "--member",
        &two,
    ]);
    assert!(others.contains(&own) && others.contains("belongs to cluster \""), "{others}");
    assert!(others.contains("and the settings say \"another\""), "{others}");
}

/// A cluster that was copied to another backend (and back, if this build has two) continues with
/// the data of the source.
#[test]
fn a_copied_cluster_continues() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let base = free_base_port();
    let up = Up::start("file", &dir.path().join("first"), base);
    for key in ["a", "b", "c"] {
        assert_eq!(up.ask(&["put", key, "1"]), "OK\n");
    }
    let said =
        failure(&["log", "copy", "--from", &at("first"), "--to", &format!("file:{}", at("x"))]);
    assert!(said.contains("in use"), "{said}");
    up.stop();
    let other = if cfg!(feature = "sqlite") { "sqlite" } else { "file" };
    for (from, backend, to) in [("first", other, "second"), ("second", "file", "third")] {
        let to_named = format!("{backend}:{}", at(to));
        let copied = kontiki(&["log", "copy", "--from", &at(from), "--to", &to_named]);
        assert!(copied.status.success(), "{}", text(&copied.stderr));
        let up = Up::start(backend, &dir.path().join(to), base);
        assert_eq!(up.ask(&["get", "", "--prefix"]).lines().count(), 3);
        assert_eq!(up.ask(&["put", "a", to]), "OK\n");
        assert_eq!(up.ask(&["get", "a"]), format!("{to}\n"));
        up.stop();
    }
}

/// Changes bytes of a member's log a little before the value: in the frame that holds it.
fn damage(dir: &Path, member: u64, value: &str) {
    change(dir, member, value, |bytes, at| bytes[at - 60..at - 40].fill(0xff));
}

fn change(dir: &Path, member: u64, value: &str, change: impl Fn(&mut [u8], usize)) {
    let log = dir.join(member.to_string()).join("log");
    let segments = std::fs::read_dir(log).expect("a log").map(|file| file.expect("a file").path());
    for path in segments {
        let mut bytes = std::fs::read(&path).expect("readable");
        let found = bytes.windows(value.len()).position(|window| window == value.as_bytes());
        if let Some(at) = found {
            change(&mut bytes, at);
            return std::fs::write(&path, bytes).expect("writable");
        }
    }
    panic!("{value} is not in the log of member {member}");
}

#[test]
fn a_damaged_or_emptied_log_stops_only_its_member() {
    if !has_file_log() {
        println!("SKIPPED: the file log is not in this build");
        assert!(std::env::var("KONTIKI_REQUIRE").is_err(), "KONTIKI_REQUIRE requires this test");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let base = free_base_port();
    let up = Up::start("file", dir.path(), base);
    for round in 0..5 {
        up.ask(&["put", "key", &format!("value-{round}")]);
    }
    assert_eq!(up.stop(), Some(0));
    damage(dir.path(), 1, "value-2");
    let up = Up::start("file", dir.path(), base);
    up.wait_for("member 1 has ended (exit status: 3); it is not started again: its log is damaged");
    up.wait_for("is damaged");
    assert_eq!(up.ask(&["get", "key"]), "value-4\n");
    assert_eq!(up.stop(), Some(0));

    // Without its log the damaged member would vote as if it had never voted before.
    std::fs::remove_dir_all(dir.path().join("1")).expect("removed");
    let up = Up::start("file", dir.path(), base);
    up.wait_for("member 1: error: the log of member 1 in");
    up.wait_for("is empty, though this member has had a log");
    assert_eq!(up.ask(&["get", "key"]), "value-4\n");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn damage_found_while_a_member_runs_stops_it_too() {
    if !has_file_log() {
        println!("SKIPPED: the file log is not in this build");
        assert!(std::env::var("KONTIKI_REQUIRE").is_err(), "KONTIKI_REQUIRE requires this test");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let base = free_base_port();
    let up = Up::start("file", dir.path(), base);
    for round in 0..5 {
        up.ask(&["put", "key", &format!("value-{round}")]);
    }
    assert_eq!(up.stop(), Some(0));
    // The payload of an entry is read, and its damage found, only when it is applied again.
    change(dir.path(), 2, "value-2", |bytes, at| bytes[at] ^= 0xff);
    let up = Up::start("file", dir.path(), base);
    up.wait_for("member 2 has ended (exit status: 3); it is not started again: its log is damaged");
    up.wait_for("this member must neither vote nor serve");
    assert_eq!(up.ask(&["get", "key"]), "value-4\n");
    assert_eq!(up.stop(), Some(0));
}
