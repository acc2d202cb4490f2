//! `kontiki transfer`, `kontiki events`, and the problems that `kontiki status` names.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use super::status;
use crate::members::{Cluster, cluster, has_file_log, stop_all};
use crate::tool::{eventually, failure, kontiki, text};

/// `kontiki events`, while it runs.
struct Shown {
    process: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Shown {
    fn start(cluster: &Cluster) -> Shown {
        let mut process = Command::new(env!("CARGO_BIN_EXE_kontiki"))
            .args(["events", "--json", "--endpoints", &cluster.endpoints()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("each line is an object");
                kept.lock().expect("not poisoned").push(event);
            }
        });
        Shown { process, lines }
    }

    /// Waits for an event.
    fn wait_for(&self, member: u64, kind: &str, words: &str) {
        let is_it = |event: &Value| {
            let said = event["text"].as_str().is_some_and(|said| said.contains(words));
            event["member"] == member && event["kind"] == kind && said
        };
        eventually(&format!("member {member} {words}"), || {
            self.lines.lock().expect("not poisoned").iter().any(is_it).then_some(())
        });
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn leadership_is_handed_over_and_events_and_problems_are_shown() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let mut members = cluster.start(&["--bootstrap"]);
    members[0].wait_for("there is a leader");
    assert_eq!(cluster.ask(&["put", "a", "1"]), "OK\n");
    let shown = Shown::start(&cluster);
    (1..=3).for_each(|id| shown.wait_for(id, "begun", "what happens"));

    let leads = |id: &u16| status(&cluster.client(*id)).is_some_and(|one| one["role"] == "leader");
    let leader = eventually("a leader", || (1..=3).find(leads));
    let next = leader % 3 + 1;
    let done = cluster.ask(&["transfer", &next.to_string()]);
    assert_eq!(done, format!("member {next} leads\n"));
    shown.wait_for(next.into(), "became", "leads in term");
    shown.wait_for(leader.into(), "became", &format!("follows member {next}"));
    let again = cluster.ask(&["transfer", &next.to_string(), "--json"]);
    assert_eq!(again, format!("{{\"leader\":{next}}}\n"), "it leads already");
    let to_any = cluster.ask(&["transfer"]);
    assert_ne!(to_any, format!("member {next} leads\n"));
    let endpoints = cluster.endpoints();
    let said = failure(&["transfer", "9", "--endpoints", &endpoints]);
    assert!(said.contains("it is not a member"), "{said}");

    // The changes of the members are events, too.
    cluster.ask(&["member", "set-address", "1", "--name", "first", "--yes"]);
    let stage = |event: &Value| event["kind"] == "change-stage";
    eventually("a stage", || {
        shown.lines.lock().expect("not poisoned").iter().any(stage).then_some(())
    });

    let last = members.pop().expect("three were started");
    stop_all(members);
    let said = eventually("it has lost its leader", || {
        let output = kontiki(&["status", "--endpoints", &endpoints]);
        let said = text(&output.stdout);
        said.contains("no leader is known").then_some(said)
    });
    let expected = "no leader is known: 1 of 3 voters answer, and 2 are needed to elect one";
    assert!(said.contains(expected), "{said}");
    shown.wait_for(3, "became", "knows no leader");
    stop_all(vec![last]);
}
