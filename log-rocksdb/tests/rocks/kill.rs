//! Kills the process while it writes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use raft_core::storage::{LogStore, StableStore, Store, WriteBatch};
use raft_core::types::{HardState, Term};

use crate::samples::{id, index, look, now, open, sized_entry};

const CHILD: &str = "KONTIKI_ROCKS_CHILD";
const ROUNDS: u64 = 6;
const BATCH: u64 = 3;

/// Writes until it is killed, and prints what was acknowledged.
fn write_for_ever(dir: &Path) {
    let mut log = open(dir).expect("opens");
    let term = now(log.load_hard_state()).expect("sound").term.get() + 1;
    for batch in 0.. {
        let first = log.bounds().last.index.get() + 1;
        let mut wanted: WriteBatch = WriteBatch::of_entries(
            (first..first + BATCH).map(|at| sized_entry(at, term, 0, 700)).collect(),
        );
        wanted.hard_state = Some(HardState { term: Term::new(term + batch), vote: None });
        if first > 200 {
            let upto = index(first - 100);
            wanted.purge_upto =
                Some(id(upto.get(), now(log.reader().term(upto)).expect("in").get()));
        }
        now(log.write(wanted)).expect("sound");
        println!("\nacknowledged {} {}", first + BATCH - 1, term + batch);
    }
}

/// The test starts itself as a child, which writes to the directory in its environment.
#[test]
fn a_kill_loses_no_acknowledged_write() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return write_for_ever(Path::new(&dir));
    }
    let dir = tempfile::tempdir().expect("a directory");
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("known"))
            .args(["--exact", "kill::a_kill_loses_no_acknowledged_write", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (mut last, mut count) = ((0, 0), 0);
        for line in lines.map_while(Result::ok) {
            let Some(said) = line.strip_prefix("acknowledged ") else { continue };
            let (at, term) = said.split_once(' ').expect("two numbers");
            last = (at.parse().expect("a number"), term.parse().expect("a number"));
            count += 1;
            if count == 50 + 37 * round {
                child.kill().expect("killed");
            }
        }
        child.wait().expect("gone");
        let mut log = open(dir.path()).expect("a kill is not damage");
        let inspected = look(&mut log).expect("sound");
        let at = inspected.bounds.last.index.get();
        assert!(at == last.0 || at == last.0 + BATCH, "{at} after {last:?}");
        assert_eq!(inspected.hard_state.term.get(), last.1 + (at - last.0) / BATCH);
        let is_written = inspected.entries.iter().all(|entry| {
            let (at, term) = (entry.id.index.get(), entry.id.term.get());
            *entry == sized_entry(at, term, 0, 700)
        });
        assert!(is_written && count > 0, "round {round}");
    }
}
