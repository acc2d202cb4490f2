//! Creating a database on a disk that fails leaves either no database or a sound one.

#![cfg(target_os = "linux")]

use crash_disk::crash::{Cut, Fate, Names};
use crash_disk::{Failure, Fault, Operation, mount_or_skip};
use log_sqlite::{SqliteLog, SqliteLogConfig};
use raft_core::storage::{StableStore, Store, WriteBatch};

use crate::samples::{entries, look, now};

/// How many operations of a kind the creation of a database takes.
fn count(operation: Operation) -> Option<u64> {
    let disk = mount_or_skip()?;
    let log = SqliteLog::open(SqliteLogConfig::new(disk.dir().join("log"))).expect("a new log");
    let count = disk.count(operation);
    drop(log);
    Some(count)
}

/// What went wrong: SQLite does not report failures while it closes a database, and a database
/// whose pages had never reached the disk was renamed to its final name.
#[test]
fn a_database_whose_creation_failed_is_created_again() {
    for (on, failure) in [
        (Operation::Write, Failure::NoSpace),
        (Operation::Write, Failure::Io),
        (Operation::Sync, Failure::Io),
    ] {
        let Some(last) = count(on) else { return };
        assert!(last > 2, "{on:?}: the faults reach the creation");
        for nth in 1..=last {
            check_fault(Fault { on, nth, failure, lasts: failure == Failure::NoSpace });
        }
    }
}

fn check_fault(fault: Fault) {
    let disk = mount_or_skip().expect("there was one");
    let dir = disk.dir().join("log");
    disk.inject(fault);
    drop(SqliteLog::open(SqliteLogConfig::new(&dir)));
    disk.clear_faults();
    let mut log = SqliteLog::open(SqliteLogConfig::new(&dir))
        .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
    assert_eq!(now(log.load_identity()).expect("readable"), None, "{fault:?}");
    now(log.write(WriteBatch::of_entries(entries(1..=3, 1)))).expect("sound");
    let at = disk.changes();
    let names = Names::CarriedBefore(at);
    let left = disk.history().cut(&Cut { at, fate: Fate::Lost, names, seed: 0 });
    let cut = tempfile::tempdir().expect("a directory");
    left.tree.write_into(cut.path()).expect("an image can be written");
    let mut log = SqliteLog::open(SqliteLogConfig::new(cut.path().join("log")))
        .unwrap_or_else(|error| panic!("after a power cut, {fault:?}: {error}"));
    assert_eq!(look(&mut log).expect("sound").entries, entries(1..=3, 1), "{fault:?}");
}
