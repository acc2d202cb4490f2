//! Checkpoints that fail: the log is as it was, and this handle writes no more.

#![cfg(target_os = "linux")]

use std::path::Path;

use crash_disk::crash::{Cut, Fate, Names};
use crash_disk::{Disk, Failure, Fault, Operation, mount_or_skip};
use log_sqlite::{SqliteLog, SqliteLogConfig};
use raft_core::storage::{LogErrorKind, LogOp, Store, WriteBatch};

use crate::samples::{entries, kind, look, now, sized_entry};

const CHECKPOINT_BYTES: u64 = 100 << 10;

fn open(dir: &Path) -> SqliteLog {
    let config =
        SqliteLogConfig { checkpoint_bytes: CHECKPOINT_BYTES, ..SqliteLogConfig::new(dir) };
    SqliteLog::open(config).expect("a sound log")
}

/// Entries 4 and 5, which fill the write-ahead log.
fn filling() -> WriteBatch {
    WriteBatch::of_entries([4, 5].map(|at| sized_entry(at, 1, 7, CHECKPOINT_BYTES as usize)).into())
}

/// A log whose checkpoint fails at its `nth` sync. The write that filled the write-ahead log, which
/// syncs once, went well.
fn with_failed_checkpoint(disk: &Disk, nth: u64) -> SqliteLog {
    let mut log = open(&disk.dir().join("log"));
    now(log.write(WriteBatch::of_entries(entries(1..=3, 1)))).expect("sound");
    disk.inject(Fault { on: Operation::Sync, nth: 1 + nth, failure: Failure::Io, lasts: false });
    now(log.write(filling())).expect("it is durable before the checkpoint begins");
    log
}

/// What is there after a power cut that loses everything that was not synced.
fn after_a_cut(disk: &Disk) -> u64 {
    let cut = Cut { at: disk.changes(), fate: Fate::Lost, names: Names::Strict, seed: 0 };
    let image = tempfile::tempdir().expect("a directory");
    let left = disk.history().cut(&cut);
    left.tree.write_into(image.path()).expect("an image can be written");
    last(&mut open(&image.path().join("log")))
}

fn last(log: &mut SqliteLog) -> u64 {
    look(log).expect("sound").entries.last().map_or(0, |entry| entry.id.index.get())
}

#[test]
fn a_write_after_a_failed_checkpoint_fails_and_so_does_all_after_it() {
    // The checkpoint syncs the write-ahead log, and then the database.
    for nth in [1, 2] {
        let Some(disk) = mount_or_skip() else { return };
        let mut log = with_failed_checkpoint(&disk, nth);
        let next = || WriteBatch::of_entries(entries(6..=6, 1));
        let error = now(log.write(next())).expect_err("the checkpoint failed");
        assert_eq!((error.op, error.kind), (LogOp::Sync, LogErrorKind::Io), "sync {nth}");
        assert_eq!(kind(now(log.write(next()))), LogErrorKind::Poisoned, "sync {nth}");
        assert_eq!(kind(now(log.close())), LogErrorKind::Poisoned, "sync {nth}");
        assert_eq!(last(&mut log), 5, "sync {nth}: reading goes on");
        drop(log);
        assert_eq!(after_a_cut(&disk), 5, "sync {nth}");
        assert_eq!(disk.clear_faults(), 1, "sync {nth}: no sync was tried again");
        assert_eq!(last(&mut open(&disk.dir().join("log"))), 5, "sync {nth}");
    }
}

#[test]
fn a_close_after_a_failed_checkpoint_fails() {
    let Some(disk) = mount_or_skip() else { return };
    let mut log = with_failed_checkpoint(&disk, 2);
    assert_eq!(kind(now(log.close())), LogErrorKind::Io);
    assert_eq!(kind(now(log.write(filling()))), LogErrorKind::Poisoned);
}
