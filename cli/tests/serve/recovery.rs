//! A cluster that has lost a majority for good continues as a new one, out of what is left.

use std::fs;

use serde_json::Value;

use crate::members::{Cluster, Member, cluster, has_file_log, stop_all};
use crate::tool::{failure, kontiki, text};

fn output(arguments: &[&str]) -> String {
    let output = kontiki(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A cluster of three with 30 keys in snapshots and one after them, stopped.
fn stopped(cluster: &Cluster) {
    let policy = ["--snapshot-entries", "20", "--kept-entries", "5"];
    let members = cluster.start(&[&["--bootstrap"], &policy[..]].concat());
    members[0].wait_for("there is a leader");
    for number in 0..30 {
        assert_eq!(cluster.ask(&["put", &format!("k{number:02}"), "a value"]), "OK\n");
    }
    cluster.ask(&["snapshot"]);
    assert_eq!(cluster.ask(&["put", "last", "1"]), "OK\n");
    for member in (1..=3).map(|id| cluster.client(id)) {
        output(&["get", "last", "--endpoints", &member]);
    }
    stop_all(members);
}

#[test]
fn a_cluster_of_one_continues_with_everything_that_the_survivor_holds() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    stopped(&cluster);
    let own = cluster.own_dir(2);
    let before = output(&["log", "show", &own, "--json"]);
    // Two of three members are lost.
    fs::remove_dir_all(cluster.own_dir(1)).expect("removed");

    let shown: Value = serde_json::from_str(&output(&["recover", &own, "--json"])).expect("JSON");
    assert_eq!(shown[0]["node"], 2, "{shown}");
    assert!(shown[0]["snapshot"].as_u64() >= Some(30), "{shown}");
    let to = dir.path().join("new").display().to_string();
    let said = failure(&["recover", &own, "--to", &to]);
    assert!(said.contains("no cluster was made: there is no terminal to ask on"), "{said}");
    assert!(said.contains("the other members of the old cluster (1, 3) can never join"), "{said}");
    assert!(!dir.path().join("new").exists(), "nothing was built");
    let said = output(&["recover", &own, "--to", &to, "--yes"]);
    assert!(said.contains("of node 2 alone, with all entries up to"), "{said}");
    assert_eq!(output(&["log", "show", &own, "--json"]), before, "the source is unchanged");
    let verified = output(&["log", "verify", &to]);
    assert!(verified.contains("up to"), "{verified}");
    let record = fs::read_to_string(dir.path().join("new/recovered.toml")).expect("it is there");
    assert!(record.contains("old_membership = \"voters 1,2,3\""), "{record}");

    // The third member comes back after all, and is refused.
    let back = Member::start(&["--dir".to_owned(), cluster.own_dir(3)]);
    let alone = Member::start(&["--dir".to_owned(), to.clone()]);
    alone.wait_for("there is a leader");
    let ask = |arguments: &[&str]| {
        output(&[arguments, &["--endpoints", &cluster.client(2), "--timeout", "20"]].concat())
    };
    assert_eq!(ask(&["get", "last"]), "1\n");
    assert_eq!(ask(&["get", "--prefix", "k"]).lines().count(), 30);
    assert_eq!(ask(&["put", "after", "2"]), "OK\n");
    back.wait_for("this member to cluster");
    let read = kontiki(&["get", "last", "--endpoints", &cluster.client(3), "--timeout", "1"]);
    assert!(!read.status.success(), "one of three has no leader");
    stop_all(vec![alone, back]);
    let again = Member::start(&["--dir".to_owned(), to]);
    again.wait_for("there is a leader");
    assert_eq!(ask(&["get", "after"]), "2\n");
    stop_all(vec![again]);
}

#[test]
fn an_older_log_and_a_directory_that_cannot_be_trusted_are_refused() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    stopped(&cluster);
    let [one, two, three] = [1, 2, 3].map(|id| cluster.own_dir(id));
    let to = dir.path().join("new").display().to_string();
    // Two of three go on without member 3.
    let start = |id| Member::start(&["--dir".to_owned(), cluster.own_dir(id)]);
    let members: Vec<Member> = [1, 2].map(start).into();
    assert_eq!(cluster.ask(&["put", "newer", "1", "--timeout", "20"]), "OK\n");
    let said = failure(&["recover", &one, "--to", &to, "--yes"]);
    assert!(said.contains("in use"), "{said}");
    stop_all(members);

    let refused =
        |survivors: &[&str]| failure(&[&["recover"], survivors, &["--to", &to, "--yes"]].concat());
    let said = refused(&[&three, &one]);
    // What member 1 knows to be committed is not always in its files.
    assert!(said.contains("knows to be committed") || said.contains("ends at"), "{said}");
    assert!(said.contains(&format!("name {one} first")), "{said}");
    let shown = output(&["recover", &three, &one]);
    assert!(shown.contains(&format!("best: node 1 in {one}")), "{shown}");
    let said = refused(&[&two, &two]);
    assert!(said.contains("are both of node 2"), "{said}");
    let said = output(&["recover", &three, &one, &two]);
    assert!(said.contains("3 of 3 voters, which may be a majority"), "{said}");
    let said = refused(&[&format!("{one}/log")]);
    assert!(said.contains("not the directory of one member"), "{said}");

    let snapshots = fs::read_dir(dir.path().join("2/snapshots")).expect("it is there");
    for file in snapshots {
        let path = file.expect("an entry").path();
        let mut bytes = fs::read(&path).expect("it can be read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("it can be written");
    }
    let said = refused(&[&two]);
    assert!(said.contains("damaged at byte"), "{said}");
    assert!(!dir.path().join("new").exists(), "nothing was built");
}
