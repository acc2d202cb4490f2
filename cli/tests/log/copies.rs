//! `kontiki log copy`: what a copy holds, which targets are refused, and copies that are killed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kontiki::LogConfig;
use kontiki::storage::WriteBatch;
use kontiki::types::{Entry, EntryKind};

use super::{a_member, backends, content, entry, failure, id, output, path, tree};

#[tokio::test]
async fn a_copy_has_the_same_content_on_any_backend() {
    for from in backends() {
        for to in backends() {
            let dir = tempfile::tempdir().expect("a directory");
            let source = dir.path().join("1");
            a_member(from, &source, 1).await;
            let before = tree(&source);
            let target = path(dir.path(), "new/copy");
            let named = format!("{to}:{target}");
            let member = source.display().to_string();
            let said = output(&["log", "copy", "--from", &member, "--to", &named]);
            assert!(said.contains("15 entries") && said.contains("never run both"), "{said}");
            assert_eq!(tree(&source), before, "the source is not changed");
            assert_eq!(content(&target), content(&member), "{from} to {to}");
            output(&["log", "verify", &target]);
            let snapshot = fs::read(Path::new(&target).join("snapshots/5")).expect("copied");
            assert_eq!(snapshot, [7; 100_000]);
            assert!(!dir.path().join("new/copy.partial").exists(), "nothing is left beside it");
            let said = failure(&["log", "copy", "--from", &member, "--to", &named]);
            assert!(said.contains("is not empty"), "{said}");

            let log = LogConfig::from_name(to, Path::new(&target).join("log"));
            let mut log = log.expect("compiled in").open().expect("opens");
            log.write(WriteBatch::of_entries(vec![entry(21, 3)])).await.expect("it is writable");
        }
    }
}

#[tokio::test]
async fn a_copy_to_an_occupied_or_inner_place_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    a_member("file", &dir.path().join("1"), 1).await;
    let from = path(dir.path(), "1");
    let refused = |to: &str| failure(&["log", "copy", "--from", &from, "--to", to]);
    assert!(refused(&path(dir.path(), "copy")).contains("does not name the backend"));
    let inside = format!("file:{}", path(dir.path(), "1/copy"));
    assert!(refused(&inside).contains("lies in the directory that is copied"));
    assert!(refused("paper:copy").contains("'paper'"));
    let memory = format!("memory:{}", path(dir.path(), "copy"));
    assert!(refused(&memory).contains("keeps nothing on a disk"));
    let file = path(dir.path(), "letter.txt");
    fs::write(&file, "dear reader").expect("written");
    assert!(refused(&format!("file:{file}")).contains("is a file"));
    assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 2, "nothing was created");
}

/// A copy that is killed at any moment leaves no target or a complete one; the next copy to the
/// same target succeeds.
#[tokio::test]
async fn a_killed_copy_leaves_no_partial_target() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = LogConfig::from_name("file", dir.path().join("log")).expect("compiled in");
    let mut log = config.open().expect("a new log");
    let large = |index| {
        let id = id(index, 1);
        Entry::new(id, EntryKind::Command, vec![index as u8; 1 << 20].into())
    };
    for index in 1..=24 {
        log.write(WriteBatch::of_entries(vec![large(index)])).await.expect("sound");
    }
    log.close().await.expect("closes");
    drop(log);
    let from = path(dir.path(), "log");
    let (target, to) = (dir.path().join("copy"), format!("file:{}", path(dir.path(), "copy")));
    let partial = dir.path().join("copy.partial/copy");
    let arguments = ["log", "copy", "--from", &from, "--to", &to];
    for pause in [0, 5, 40] {
        let mut copy = Command::new(env!("CARGO_BIN_EXE_kontiki"))
            .args(arguments)
            .spawn()
            .expect("the tool starts");
        let begin = Instant::now();
        while !partial.exists() && begin.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(pause));
        copy.kill().expect("it is ours");
        copy.wait().expect("it ends");
        if target.exists() {
            output(&["log", "verify", &target.display().to_string()]);
            fs::remove_dir_all(&target).expect("removed");
        }
    }
    output(&arguments);
    assert_eq!(content(&target.display().to_string()), content(&from));
    assert!(!dir.path().join("copy.partial").exists());
}
