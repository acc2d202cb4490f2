//! Members that are started one by one, as on several machines.

#[path = "tool/mod.rs"]
mod tool;

#[path = "serve/burdens.rs"]
mod burdens;
#[path = "serve/full_disk.rs"]
mod full_disk;
#[path = "tool/members.rs"]
mod members;
#[path = "membership/mod.rs"]
mod membership;
#[path = "serve/recovery.rs"]
mod recovery;
#[path = "serve/snapshots.rs"]
mod snapshots;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use members::{Member, cluster, has_file_log, stop_all};
use tool::{failure, kontiki, text};

#[test]
fn a_member_creates_a_cluster_only_with_the_bootstrap_flag() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let flags = cluster.flags(1, "demo");
    let serve = |more: &[&str]| {
        let flags = flags.iter().map(String::as_str);
        failure(&[&["serve"][..], &flags.chain(more.iter().copied()).collect::<Vec<_>>()].concat())
    };
    let said = serve(&[]);
    assert!(said.contains("is empty: no cluster was created"), "{said}");
    assert!(said.contains("--bootstrap"), "{said}");
    let said = serve(&["--bootstrap", "--must-have-log"]);
    assert!(said.contains("is empty, though this member has had a log"), "{said}");
    // Neither start created a cluster.
    let said = serve(&[]);
    assert!(said.contains("is empty: no cluster was created"), "{said}");
    let own = cluster.own_dir(1);
    let said = failure(&["serve", "--dir", &own, "--bootstrap"]);
    assert!(said.contains("--id is not given"), "{said}");
}

#[test]
fn a_restarted_member_needs_only_its_directory_and_accepts_new_addresses() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = cluster(dir.path());
    let members = first.start(&["--bootstrap"]);
    let listening = members[0].wait_for("listening");
    assert!(listening.contains(&first.client(1)), "{listening}");
    members[0].wait_for("there is a leader");
    assert_eq!(first.ask(&["put", "a", "1"]), "OK\n");
    stop_all(members);

    // The directory alone is enough.
    let alone = |id| Member::start(&["--dir".to_owned(), first.own_dir(id)]);
    let members: Vec<Member> = (1..=3).map(alone).collect();
    assert_eq!(first.ask(&["get", "a"]), "1\n");
    stop_all(members);

    // All members have moved to other ports.
    let moved = cluster(dir.path());
    let members = moved.start(&["--use-listed-addresses", "--log-format", "json"]);
    let line = members[0].wait_for("there is a leader");
    let line: Value = serde_json::from_str(&line).expect("a JSON object");
    assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"there is a leader".into()));
    assert!(line["leader"].is_string() && line["timestamp"].is_string(), "{line}");
    assert_eq!(moved.ask(&["get", "a"]), "1\n");
    stop_all(members);

    // Another name and another member are refused, and the message shows both sides.
    let refused = |flags: Vec<String>| {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        failure(&[&["serve"][..], &flags].concat())
    };
    let said = refused(moved.flags(1, "other"));
    assert!(said.contains("belongs to cluster \"demo\", and the settings say \"other\""), "{said}");
    let mut flags = moved.flags(1, "demo");
    flags[1] = "2".to_owned();
    let said = refused(flags);
    assert!(said.contains("is member 1, and the settings say 2"), "{said}");
}

/// Two of three members lose entries that all of them acknowledged, as with disks that were
/// restored from an older copy, and continue. The third one must not follow them as if nothing had
/// happened.
#[test]
fn a_member_that_contradicts_its_leader_stops_and_reports_lost_data() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let members = cluster.start(&["--bootstrap"]);
    assert_eq!(cluster.ask(&["put", "a", "1"]), "OK\n");
    stop_all(members);
    let older = tempfile::tempdir().expect("a temporary directory");
    for id in [1, 2] {
        copy(Path::new(&cluster.own_dir(id)), &older.path().join(id.to_string()));
    }
    let members = cluster.start(&[]);
    for round in 0..5 {
        cluster.ask(&["put", "a", &format!("later {round}")]);
    }
    stop_all(members);

    for id in [1, 2] {
        std::fs::remove_dir_all(cluster.own_dir(id)).expect("removed");
        copy(&older.path().join(id.to_string()), Path::new(&cluster.own_dir(id)));
    }
    let start = |id| Member::start(&cluster.flags(id, "demo"));
    let two = vec![start(1), start(2)];
    assert_eq!(cluster.ask(&["put", "b", "1", "--timeout", "20"]), "OK\n");
    let third = start(3);
    third.wait_for("acknowledged data was lost");
    assert_ne!(third.ended(), Some(0));
    assert_eq!(cluster.ask(&["get", "b", "--timeout", "20"]), "1\n");
    stop_all(two);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("made");
    for found in std::fs::read_dir(from).expect("there") {
        let path = found.expect("there").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("copied");
        }
    }
}

#[test]
fn without_a_majority_the_error_says_how_many_members_answer() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let mut members = cluster.start(&["--bootstrap"]);
    assert_eq!(cluster.ask(&["put", "a", "1"]), "OK\n");
    members.truncate(1);
    let endpoints = cluster.endpoints();
    let said = failure(&["put", "a", "2", "--timeout", "2", "--endpoints", &endpoints]);
    assert!(said.contains("no leader: 1 of 3 members answer, and 2 are needed"), "{said}");
    stop_all(members);
}

#[test]
fn a_closed_output_pipe_is_not_a_failure() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let members = cluster.start(&["--bootstrap"]);
    let value = "v".repeat(100_000);
    for key in 0..10 {
        cluster.ask(&["put", &format!("k{key}"), &value]);
    }
    let mut get = Command::new(env!("CARGO_BIN_EXE_kontiki"))
        .args(["get", "--prefix", "k"])
        .env("KONTIKI_ENDPOINTS", cluster.endpoints())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    drop(get.stdout.take());
    let output = get.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let missing = kontiki(&["get", "x", "--json", "--endpoints", &cluster.endpoints()]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stdout).contains("\"kvs\":[]"), "{missing:?}");
    stop_all(members);
}
