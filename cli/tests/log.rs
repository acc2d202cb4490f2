//! `kontiki log` as a user runs it: on the directories of members that are not running.
#![cfg(feature = "file")]

#[path = "log/copies.rs"]
mod copies;
#[path = "log/snapshots.rs"]
mod snapshots;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kontiki::storage::WriteBatch;
use kontiki::types::{Entry, EntryId, EntryKind, HardState, LogIndex, Term};
use kontiki::{DataDir, LogConfig, Membership, NodeId};
use serde_json::Value;
use tempfile::TempDir;

fn kontiki(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_kontiki")).args(arguments).output();
    output.expect("the tool starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The output of a command that must succeed.
fn output(arguments: &[&str]) -> String {
    let output = kontiki(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json(arguments: &[&str]) -> Value {
    let output = kontiki(arguments);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", text(&output.stderr)))
}

/// The error message of a command that must fail with status 1.
fn failure(arguments: &[&str]) -> String {
    let output = kontiki(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.starts_with("error: "), "{arguments:?}: {said}");
    said
}

/// The durable backends of this build.
fn backends() -> Vec<&'static str> {
    LogConfig::compiled().into_iter().filter(|name| *name != "memory").collect()
}

fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

fn entry(index: u64, term: u64) -> Entry {
    Entry::new(id(index, term), EntryKind::Command, format!("payload {index}").into())
}

/// A member with a vote and 20 entries of two terms, of which the first five are purged, and with a
/// snapshot beside its log.
async fn a_member(backend: &str, dir: &Path, number: u64) {
    let lock = DataDir::open(dir).expect("a new directory");
    let config = LogConfig::from_name(backend, lock.log()).expect("compiled in");
    let mut log = config.open().expect("a new log");
    let voters = (1..=3).map(|number| (node(number), format!("host{number}:1").into()));
    let members = Membership::of_voters(voters).expect("sound");
    kontiki::bootstrap(log.as_mut(), "c", node(number), &members).await.expect("blank");
    let mut batch = WriteBatch::of_entries((2..=12).map(|index| entry(index, 1)).collect());
    batch.hard_state = Some(HardState { term: Term::new(4), vote: Some(node(2)) });
    log.write(batch).await.expect("sound");
    let purge = WriteBatch { purge_upto: Some(id(5, 1)), ..WriteBatch::default() };
    log.write(purge).await.expect("sound");
    let mut batch = WriteBatch::of_entries((13..=20).map(|index| entry(index, 3)).collect());
    batch.commit_hint = Some(LogIndex::new(17));
    log.write(batch).await.expect("sound");
    log.close().await.expect("closes");
    fs::create_dir(dir.join("snapshots")).expect("made");
    fs::write(dir.join("snapshots/5"), [7; 100_000]).expect("written");
}

/// All files below a directory, with their bytes.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(tree(&path))
        } else {
            files.insert(path.clone(), fs::read(&path).expect("reads"));
        }
    }
    files
}

/// The output of `show` for a log, without its place and its format.
fn content(dir: &str) -> Value {
    let mut shown = json(&["log", "show", dir, "--json", "--count", "1000000"]);
    let shown_object = shown.as_object_mut().expect("an object");
    for place in ["dir", "backend", "proven", "format_version"] {
        shown_object.remove(place).expect("it is shown");
    }
    shown
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

#[tokio::test]
async fn show_and_verify_report_the_content_and_change_nothing() {
    for backend in backends() {
        let dir = tempfile::tempdir().expect("a directory");
        a_member(backend, &dir.path().join("1"), 1).await;
        let before = tree(dir.path());
        let member = path(dir.path(), "1");
        let log = path(dir.path(), "1/log");
        let named = format!("{backend}:{log}");
        for place in [&member, &log, &named, &format!("{backend}:{member}")] {
            let shown = json(&["log", "show", place, "--json", "--from", "7", "--count", "3"]);
            assert_eq!(shown["backend"], backend);
            assert_eq!(shown["identity"]["node"], 1);
            assert_eq!(shown["hard_state"], serde_json::json!({"term": 4, "vote": 2}));
            assert_eq!(shown["boundary"], serde_json::json!({"index": 5, "term": 1}));
            assert_eq!(shown["last"], serde_json::json!({"index": 20, "term": 3}));
            assert_eq!((&shown["entries"], &shown["commit_hint"]), (&15.into(), &17.into()));
            assert_eq!(shown["terms"][1], serde_json::json!({"first": 13, "term": 3}));
            let page = shown["page"].as_array().expect("a list");
            let indices: Vec<_> = page.iter().map(|entry| entry["index"].as_u64()).collect();
            assert_eq!(indices, [Some(7), Some(8), Some(9)]);
            assert_eq!(page[0]["preview"], "payload 7");
            assert_eq!((&page[0]["kind"], &page[0]["bytes"]), (&"command".into(), &9.into()));
        }
        let table = output(&["log", "show", &member, "--count", "3"]);
        for words in [
            "node 1 of cluster",
            "term 4, vote 2",
            "15, from 6 to 20",
            "payload 6",
            "... 12 more: --from 9",
            &format!("{backend}, format 1"),
            "purged up to 5",
        ] {
            assert!(table.contains(words), "{words} in:\n{table}");
        }
        let verdict = json(&["log", "verify", &member, "--json"]);
        assert_eq!((&verdict["sound"], &verdict["last"]), (&true.into(), &20.into()));
        assert!(output(&["log", "verify", &log]).contains("sound: every checksum holds"));
        assert_eq!(tree(dir.path()), before, "{backend}: nothing was changed");
    }
}

#[tokio::test]
async fn members_are_shown_with_their_addresses() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = LogConfig::from_name("file", dir.path()).expect("compiled in");
    let mut log = config.open().expect("a new log");
    let one = [(node(1), "host1:1".into())];
    let members = Membership::of_voters(one).expect("sound");
    kontiki::bootstrap(log.as_mut(), "c", node(1), &members).await.expect("blank");
    drop(log);
    let table = output(&["log", "show", &dir.path().display().to_string()]);
    assert!(table.contains("from entry 1 on: voters 1 (host1:1)"), "{table}");
    assert!(table.contains("which an opening keeps"), "not closed, so unproven:\n{table}");
}

/// Flips one byte of a payload in one of the files; returns the file.
fn corrupt(dir: &Path, payload: &[u8]) -> String {
    for (path, mut bytes) in tree(dir) {
        let found = bytes.windows(payload.len()).rposition(|window| window == payload);
        if let Some(at) = found {
            bytes[at] ^= 1;
            fs::write(&path, bytes).expect("writes");
            return path.display().to_string();
        }
    }
    panic!("no file contains {payload:?}");
}

#[tokio::test]
async fn damage_is_named_with_status_1_and_never_copied() {
    for backend in backends() {
        let dir = tempfile::tempdir().expect("a directory");
        a_member(backend, &dir.path().join("1"), 1).await;
        let member = path(dir.path(), "1");
        // The last page that SQLite wrote is in its write-ahead log.
        corrupt(&dir.path().join("1/log"), b"payload 18");
        let said = failure(&["log", "verify", &member]);
        assert!(said.contains("is damaged in"), "{said}");
        let verdict = json(&["log", "verify", &member, "--json"]);
        assert_eq!(verdict["sound"], false);
        let damage = &verdict["damage"][0];
        let place = damage["place"].as_str().expect("a place");
        assert!(place.contains("1/log/") && place.contains("offset"), "{place}");
        if backend == "file" {
            assert_eq!(damage["entry"], 18, "{damage}");
        }
        let said = failure(&["log", "show", &member, "--count", "1000"]);
        assert!(said.contains("is damaged"), "{said}");
        let shown = json(&["log", "show", &member, "--count", "1000", "--json"]);
        assert_eq!(shown["identity"]["node"], 1, "the sound part is shown");
        let to = format!("{backend}:{}", path(dir.path(), "copy"));
        let said = failure(&["log", "copy", "--from", &member, "--to", &to]);
        assert!(said.contains("a damaged log is not copied"), "{said}");
        assert!(!dir.path().join("copy").exists() && !dir.path().join("copy.partial").exists());
    }
}

#[tokio::test]
async fn a_lost_end_is_reported_as_damage() {
    for backend in backends() {
        let dir = tempfile::tempdir().expect("a directory");
        a_member(backend, &dir.path().join("1"), 1).await;
        let files = tree(&dir.path().join("1/log"));
        let used = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let has_entries = |path: &Path, bytes: &[u8]| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let is_log = name.starts_with("seg-") || name.ends_with("-wal");
            name.ends_with(".sst") || is_log && used(bytes) > 9000
        };
        let (last, bytes) = files
            .iter()
            .rfind(|(path, bytes)| has_entries(path, bytes))
            .expect("a file with entries");
        fs::write(last, &bytes[..used(bytes) - 100]).expect("cut");
        let said = text(&kontiki(&["log", "verify", &path(dir.path(), "1")]).stdout);
        assert!(said.contains(&last.display().to_string()) && said.contains("offset"), "{said}");
        failure(&["log", "verify", &path(dir.path(), "1")]);
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_inspected_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = dir.path().join("1");
    a_member("file", &member, 1).await;
    fs::write(dir.path().join("letter.txt"), "dear reader").expect("written");
    fs::create_dir(dir.path().join("empty")).expect("made");
    let at = |name: &str| path(dir.path(), name);
    for (place, words) in [
        (at("2"), "does not exist"),
        (at("letter.txt"), "is not a directory"),
        (at("empty"), "no log is in"),
        (format!("file:{}", at("empty")), "no segment of a log"),
        ("file:".to_owned(), "no directory is named"),
        (format!("paper:{}", at("1")), "there is no log backend 'paper'"),
        (format!("memory:{}", at("1")), "keeps nothing on a disk"),
    ] {
        for command in ["show", "verify"] {
            let said = failure(&["log", command, &place]);
            assert!(said.contains(words), "{place}: {said}");
        }
        let said = failure(&["log", "copy", "--from", &place, "--to", &at("file:copy")]);
        assert!(!dir.path().join("copy").exists(), "{said}");
    }
    for (from, words) in [("5", "--from 6"), ("21", "last entry is 20")] {
        let said = failure(&["log", "show", &at("1"), "--from", from]);
        assert!(said.contains(words), "{said}");
    }
    for backend in ["sqlite", "rocksdb"] {
        if !LogConfig::compiled().contains(&backend) {
            let said = failure(&["log", "show", &format!("{backend}:{}", at("1"))]);
            assert!(said.contains(&format!("'{backend}'")), "{said}");
        }
    }
    fs::write(dir.path().join("empty/log.db"), "").expect("written");
    if !cfg!(feature = "sqlite") {
        let said = failure(&["log", "show", &at("empty")]);
        assert!(said.contains("--features sqlite"), "{said}");
    }
}

#[tokio::test]
async fn a_log_that_is_in_use_is_refused() {
    for backend in backends() {
        let dir = tempfile::tempdir().expect("a directory");
        let member = dir.path().join("1");
        a_member(backend, &member, 1).await;
        let (member, log) = (member.display().to_string(), path(&member, "log"));
        let to = format!("{backend}:{}", path(dir.path(), "copy"));
        let refused = |place: &str| {
            for command in [
                &["log", "show", place][..],
                &["log", "verify", place],
                &["log", "copy", "--from", place, "--to", &to],
            ] {
                let said = failure(command);
                assert!(said.contains("in use") || said.contains("another process"), "{said}");
                assert!(said.contains("lock"), "{said}");
            }
        };
        let lock = DataDir::open(&member).expect("free");
        refused(&member);
        drop(lock);
        let store = LogConfig::from_name(backend, &log).expect("compiled in").open().expect("free");
        refused(&member);
        refused(&log);
        drop(store);
        output(&["log", "verify", &member]);
        assert!(!dir.path().join("copy").exists());
    }
}

/// Every later version can verify directories of format version 1.
#[test]
fn frozen_directories_are_verified() {
    let root = PathBuf::from("..");
    for (backend, parts) in [
        ("file", &["log-file/tests/fixtures/v1"][..]),
        ("file", &["log-file/tests/fixtures/v1", "log-file/tests/fixtures/v1-proof"]),
        ("sqlite", &["log-sqlite/tests/fixtures/v1"]),
        ("rocksdb", &["log-rocksdb/tests/fixtures/v1/closed"]),
        ("rocksdb", &["log-rocksdb/tests/fixtures/v1/killed"]),
    ] {
        if !LogConfig::compiled().contains(&backend) {
            continue;
        }
        let dir = copied(&root, parts);
        let verdict = json(&["log", "verify", &dir.path().display().to_string(), "--json"]);
        assert_eq!((&verdict["sound"], &verdict["backend"]), (&true.into(), &backend.into()));
    }
}

fn copied(root: &Path, parts: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for part in parts {
        let part = root.join(part);
        for (file, bytes) in tree(&part) {
            let copy = dir.path().join(file.strip_prefix(&part).expect("inside"));
            fs::create_dir_all(copy.parent().expect("inside")).expect("made");
            fs::write(copy, bytes).expect("copies");
        }
    }
    dir
}

/// The commands of the operations page, on a cluster like the page's: each ends with the status
/// that the page shows after it, or with success.
#[tokio::test]
async fn the_examples_of_the_operations_page_run() {
    let dir = tempfile::tempdir().expect("a directory");
    for number in 1..=3 {
        a_member("file", &dir.path().join(format!("kontiki-data/{number}")), number).await;
    }
    let cluster = "cluster = \"c\"\nnodes = 3\nbackend = \"file\"\nbegun = [1, 2, 3]\n";
    fs::write(dir.path().join("kontiki-data/cluster.toml"), cluster).expect("written");
    let page = Path::new("../docs/operations.md");
    let page = fs::read_to_string(page).expect("the page");
    let examples: Vec<&str> = page.lines().filter(|line| line.starts_with("kontiki log")).collect();
    assert!(examples.len() >= 5, "{examples:?}");
    let mut copies = 0;
    for example in examples {
        let (command, status) = example.split_once('#').unwrap_or((example, ""));
        if command.contains("sqlite") && !cfg!(feature = "sqlite") {
            continue;
        }
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let mut tool = Command::new(env!("CARGO_BIN_EXE_kontiki"));
        let ran = tool.args(&words).current_dir(&dir).output().expect("the tool starts");
        let wanted = if status.contains("status 1") { 1 } else { 0 };
        assert_eq!(ran.status.code(), Some(wanted), "{example}: {}", text(&ran.stderr));
        copies += usize::from(words.contains(&"copy"));
    }
    assert!(copies > 0 || !cfg!(feature = "sqlite"));
    if cfg!(feature = "sqlite") {
        let saved = fs::read_to_string(dir.path().join("on-sqlite/cluster.toml")).expect("copied");
        assert!(saved.contains("backend = \"sqlite\"") && saved.contains("begun"), "{saved}");
    }
}
