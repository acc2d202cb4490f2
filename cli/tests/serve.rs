//! Members that are started one by one, as on several machines.

#[path = "tool/mod.rs"]
mod tool;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use tool::{eventually, failure, free_base_port, kontiki, text};

/// A running member; it is killed when it is dropped.
struct Member {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Member {
    fn start(arguments: &[String]) -> Member {
        let mut process = Command::new(env!("CARGO_BIN_EXE_kontiki"))
            .arg("serve")
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        let output = BufReader::new(process.stderr.take().expect("a pipe"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                println!("{line}");
                kept.lock().expect("not poisoned").push(line);
            }
        });
        Member { process, lines }
    }

    fn wait_for(&self, words: &str) -> String {
        eventually(words, || {
            let lines = self.lines.lock().expect("not poisoned");
            lines.iter().find(|line| line.contains(words)).cloned()
        })
    }

    fn stop(mut self) -> Option<i32> {
        let pid = Pid::from_raw(self.process.id() as i32).expect("a process");
        kill_process(pid, Signal::TERM).expect("it runs");
        eventually("it stops", || self.process.try_wait().expect("our child")).code()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Three members on this machine, from a base port on.
struct Cluster {
    dir: PathBuf,
    base: u16,
}

impl Cluster {
    fn client(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.base + 10 * (id - 1))
    }

    fn endpoints(&self) -> String {
        [1, 2, 3].map(|id| self.client(id)).join(",")
    }

    fn own_dir(&self, id: u16) -> String {
        self.dir.join(id.to_string()).display().to_string()
    }

    /// The flags that say which member this is, and where all of them are.
    fn flags(&self, id: u16, cluster: &str) -> Vec<String> {
        let mut flags: Vec<String> =
            ["--id", &id.to_string(), "--cluster", cluster, "--dir", &self.own_dir(id)]
                .map(str::to_owned)
                .to_vec();
        for other in 1..=3 {
            let peer = self.base + 10 * (other - 1) + 1;
            let member = format!("{other}=127.0.0.1:{peer},{}", self.client(other));
            flags.extend(["--member".to_owned(), member]);
        }
        flags
    }

    fn start(&self, more: &[&str]) -> Vec<Member> {
        let start = |id| {
            let more = more.iter().map(|&flag| flag.to_owned());
            Member::start(&self.flags(id, "demo").into_iter().chain(more).collect::<Vec<_>>())
        };
        (1..=3).map(start).collect()
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let output = kontiki(&[arguments, &["--endpoints", &self.endpoints()]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

fn stop_all(members: Vec<Member>) {
    for member in members {
        assert_eq!(member.stop(), Some(0));
    }
}

/// Whether this build has the log that the members are kept in.
fn has_file_log() -> bool {
    let required = std::env::var("KONTIKI_REQUIRE").is_ok();
    assert!(cfg!(feature = "file") || !required, "KONTIKI_REQUIRE wants the file log");
    cfg!(feature = "file")
}

fn cluster(dir: &Path) -> Cluster {
    Cluster { dir: dir.to_owned(), base: free_base_port() }
}

#[test]
fn a_member_founds_nothing_unless_it_is_told_to() {
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
    assert!(said.contains("is empty: nothing was founded"), "{said}");
    assert!(said.contains("--bootstrap"), "{said}");
    let said = serve(&["--bootstrap", "--must-have-log"]);
    assert!(said.contains("is empty, though this member has had one"), "{said}");
    // Nothing was founded by either.
    let said = serve(&[]);
    assert!(said.contains("is empty: nothing was founded"), "{said}");
    let own = cluster.own_dir(1);
    let said = failure(&["serve", "--dir", &own, "--bootstrap"]);
    assert!(said.contains("--id is not given"), "{said}");
}

#[test]
fn a_member_knows_itself_after_its_first_start_and_takes_up_new_addresses() {
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

    // Its directory is enough.
    let alone = |id| Member::start(&["--dir".to_owned(), first.own_dir(id)]);
    let members: Vec<Member> = (1..=3).map(alone).collect();
    assert_eq!(first.ask(&["get", "a"]), "1\n");
    stop_all(members);

    // All of them have moved.
    let moved = cluster(dir.path());
    let members = moved.start(&["--log-format", "json"]);
    let line = members[0].wait_for("there is a leader");
    let line: Value = serde_json::from_str(&line).expect("a JSON object");
    assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"there is a leader".into()));
    assert!(line["leader"].is_string() && line["timestamp"].is_string(), "{line}");
    assert_eq!(moved.ask(&["get", "a"]), "1\n");
    stop_all(members);

    // Another name, and another member, are refused with both sides.
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

#[test]
fn a_minority_says_that_there_is_no_leader_and_how_many_answer() {
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
fn output_that_is_not_read_to_its_end_is_no_failure() {
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
