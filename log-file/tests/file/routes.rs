//! The ways in which frames are written to a real disk, and the outcome of a write whose future was
//! dropped.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crash_disk::crash::{Cut, FATES, Names};
use crash_disk::mount_or_skip;
use harness::conformance::{Check, Factory, in_dir, run};
use log_file::{FileLog, FileLogConfig, Housekeeping, Io, WriteVerb};
use raft_core::storage::{LogErrorKind, LogStore, Store, WriteBatch};

use crate::samples::{entries, kind, look, now, sized_entry};

fn on_a_ring(dir: &Path) -> FileLogConfig {
    FileLogConfig { io: Io::Ring, segment_bytes: 64 << 10, ..FileLogConfig::new(dir) }
}

/// Whether the log found a ring. A machine may forbid rings; tests that need one then report that
/// they are skipped.
fn has_ring(log: &FileLog) -> bool {
    let has_ring = !log.info().may_block;
    if !has_ring {
        eprintln!("skipped: this machine has no io_uring with direct writes");
    }
    has_ring
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime")
}

fn batch(at: u64) -> WriteBatch {
    WriteBatch::of_entries(vec![sized_entry(at, 1, 0, 700)])
}

/// Writes a log in one way and opens it in another; its contents must be the same.
fn check_way(config: &FileLogConfig, verb: &str) {
    let mut log = FileLog::open(config.clone()).expect("a new log");
    assert_eq!(log.info().sync_verb, verb);
    let (runtime, mut wanted) = (runtime(), Vec::new());
    for at in 1..=300 {
        let entry = sized_entry(at, 1, 0, (at * 131 % 5000) as usize);
        let batch = WriteBatch::of_entries(vec![entry.clone()]);
        runtime.block_on(log.write(batch)).expect("sound");
        wanted.push(entry);
    }
    assert_eq!(look(&mut log).expect("sound").entries, wanted);
    drop(log);
    let other =
        FileLogConfig { io: Io::Thread, write_verb: WriteVerb::Fdatasync, ..config.clone() };
    let mut log = FileLog::open(other).expect("opens");
    assert_eq!(look(&mut log).expect("sound").entries, wanted);
}

#[test]
fn every_way_writes_the_same_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = |name: &str, io, write_verb| FileLogConfig {
        io,
        write_verb,
        segment_bytes: 64 << 10,
        ..FileLogConfig::new(dir.path().join(name))
    };
    check_way(&config("fdatasync", Io::Thread, WriteVerb::Fdatasync), "fdatasync");
    let thread = config("thread", Io::Thread, WriteVerb::Auto);
    let log = FileLog::open(thread.clone()).expect("a new log");
    let (verb, may_block) = (log.info().sync_verb, log.info().may_block);
    drop(log);
    assert!(may_block);
    check_way(&thread, &verb);
    if cfg!(target_os = "linux") {
        check_way(&config("dsync", Io::Thread, WriteVerb::Dsync), "RWF_DSYNC");
    }
    let ring = config("ring", Io::Ring, WriteVerb::Auto);
    let log = FileLog::open(ring.clone()).expect("a new log");
    if has_ring(&log) {
        drop(log);
        check_way(&ring, "io_uring, O_DIRECT + RWF_DSYNC");
    }
}

/// What went wrong: by default a log took a ring wherever one worked, and declared that it never
/// blocks, though the call that handed a write over waited for the device's flush.
#[test]
fn a_log_that_declares_that_it_never_blocks_does_not() {
    for io in [Io::Auto, Io::Ring] {
        let factory: Factory = Arc::new(move || {
            Box::new(in_dir(async move |dir: &Path| {
                FileLog::open(FileLogConfig { io, ..FileLogConfig::new(dir) })
            }))
        });
        let check = Check::named("declarations::a_store_that_never_blocks_never_sleeps");
        let outcome = run(check, &factory);
        println!("{io:?}: {outcome:?}");
        assert!(outcome.is_ok(), "{io:?}: {outcome:?}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (io, write_verb) = (Io::Auto, WriteVerb::Fdatasync);
    let named = FileLogConfig { io, write_verb, ..on_a_ring(dir.path()) };
    let verb = FileLog::open(named).expect("opens").info().sync_verb;
    assert_eq!(verb, "fdatasync", "a named verb is called by a thread");
}

/// The trials leave no file behind.
#[test]
fn a_trial_leaves_no_file() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(FileLog::open(on_a_ring(dir.path())).expect("a new log"));
    let names = std::fs::read_dir(dir.path()).expect("lists");
    let names =
        names.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    let spares: Vec<_> = names.filter(|name| name.starts_with("spare-0")).collect();
    assert!(spares.iter().all(|name| name != "spare-0000000000000000"), "{spares:?}");
}

#[test]
fn a_write_that_is_dropped_poisons_and_loses_nothing_before_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = FileLog::open(on_a_ring(dir.path())).expect("a new log");
    if !has_ring(&log) {
        return;
    }
    let mut dropped = 0;
    for round in 0..40 {
        let runtime = runtime();
        let before = log.bounds().last.index;
        let next = before.next().get();
        let is_over = runtime.block_on(async {
            log.write(batch(next)).await.expect("sound");
            let mut writing = log.write(batch(next + 1));
            let mut context = Context::from_waker(Waker::noop());
            matches!(writing.as_mut().poll(&mut context), Poll::Ready(Ok(())))
        });
        if !is_over {
            dropped += 1;
            assert_eq!(kind(now(log.write(batch(next + 1)))), LogErrorKind::Poisoned);
            assert_eq!(kind(now(log.close())), LogErrorKind::Poisoned);
            assert_eq!(log.bounds().last.index.get(), next, "no reader may see it");
        }
        drop(log);
        // No entry can arrive later: the opening waited for the write.
        log = FileLog::open(on_a_ring(dir.path())).expect("opens");
        let last = log.bounds().last.index.get();
        assert!(last == next + 1 || (last == next && !is_over), "round {round}: {last}");
        assert_eq!(look(&mut log).expect("sound").entries.len() as u64, last);
    }
    assert!(dropped > 0, "every write completed at once");
}

/// What went wrong: Tokio panics when a runtime that was built without `enable_io` is to watch a
/// ring, so the member's task panicked at its first write.
#[test]
fn a_runtime_without_io_does_not_panic() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = FileLog::open(on_a_ring(dir.path())).expect("a new log");
    let bare = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for at in 1..=200 {
        bare.block_on(log.write(batch(at))).expect("sound");
    }
    runtime().block_on(log.write(batch(201))).expect("sound where there is I/O");
    bare.block_on(log.write(batch(202))).expect("sound");
    drop(log);
    let mut log = FileLog::open(on_a_ring(dir.path())).expect("opens");
    assert_eq!(look(&mut log).expect("sound").entries.len(), 202);
}

/// A store may be opened and bootstrapped in one runtime and run in another.
#[test]
fn a_ring_follows_its_store_to_another_runtime() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = FileLog::open(on_a_ring(dir.path())).expect("a new log");
    let idle = runtime();
    idle.block_on(async { log.append(&entries(1..=3, 1)).await }).expect("sound");
    let other = runtime();
    other.block_on(async { log.append(&entries(4..=6, 1)).await }).expect("sound");
    drop(other);
    // Outside of a runtime a write blocks until it is done.
    now(log.append(&entries(7..=7, 1))).expect("sound, without any runtime");
    let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_io().build();
    let two = two.expect("a runtime");
    let log = two.block_on(async {
        let write = async move {
            for at in 8..=200 {
                log.append(&entries(at..=at, 1)).await.expect("sound");
                tokio::task::yield_now().await;
            }
            log
        };
        tokio::spawn(write).await.expect("no panic")
    });
    assert_eq!(log.bounds().last.index.get(), 200);
    drop(idle);
}

/// A write on a single thread never waits for a segment to be made, however many it needs.
#[test]
fn a_ring_starts_the_next_segment_without_blocking() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = FileLog::open(FileLogConfig { segment_bytes: 16 << 10, ..on_a_ring(dir.path()) })
        .expect("a new log");
    runtime().block_on(async {
        for at in 1..=200 {
            let entry = sized_entry(at, 1, 0, 9000);
            log.write(WriteBatch::of_entries(vec![entry])).await.expect("sound");
        }
        log.close().await.expect("closes");
    });
    assert_eq!(look(&mut log).expect("sound").entries.len(), 200);
}

/// Writes in one way on a disk whose power can be cut, and cuts it at many moments: what had been
/// acknowledged is there each time.
fn check_cuts(io: Io, write_verb: WriteVerb) {
    let Some(disk) = mount_or_skip() else { return };
    let config = FileLogConfig { io, write_verb, ..on_a_ring(disk.dir()) };
    let mut log = FileLog::open(config).expect("a new log");
    let verb = log.info().sync_verb;
    // How many changes the disk had seen when each entry was acknowledged.
    let mut acknowledged = vec![disk.changes()];
    let runtime = runtime();
    for at in 1..=180 {
        runtime.block_on(log.write(batch(at))).expect("sound");
        acknowledged.push(disk.changes());
    }
    let history = disk.history();
    drop(log);
    for (seed, at) in (acknowledged[0]..history.changes.len()).step_by(13).enumerate() {
        let fate = FATES[seed % FATES.len()];
        let cut = Cut { at, fate, names: Names::Strict, seed: seed as u64 };
        let dir = tempfile::tempdir().expect("a directory");
        history.cut(&cut).tree.write_into(dir.path()).expect("writes");
        let mut log = FileLog::open(FileLogConfig::new(dir.path()))
            .unwrap_or_else(|error| panic!("{verb}, {cut:?}: {error}"));
        let entries = look(&mut log).expect("sound").entries.len();
        let least = acknowledged.iter().filter(|changes| **changes <= at).count() - 1;
        assert!(entries >= least, "{verb}, {cut:?}: {entries} of {least}");
    }
}

#[test]
fn a_power_cut_loses_nothing_acknowledged_in_any_way_of_writing() {
    for write_verb in [WriteVerb::Fdatasync, WriteVerb::Dsync, WriteVerb::Direct] {
        check_cuts(Io::Thread, write_verb);
    }
    check_cuts(Io::Ring, WriteVerb::Auto);
}

/// What went wrong: outside of a runtime a write blocked until the disk was done, but did not block
/// for the next segment.
#[test]
fn without_a_runtime_a_write_waits_for_segments_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = FileLogConfig { segment_bytes: 16 << 10, ..on_a_ring(dir.path()) };
    let mut log = FileLog::open(config).expect("a new log");
    for at in 1..=200 {
        let entry = sized_entry(at, 1, 0, 9000);
        now(log.write(WriteBatch::of_entries(vec![entry]))).expect("sound");
    }
    assert_eq!(log.bounds().last.index.get(), 200);
}

/// What went wrong: no thread made the segment that a writer without housekeeping waited for.
#[test]
fn a_ring_without_a_housekeeping_thread_makes_its_segments_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let (housekeeping, segment_bytes) = (Housekeeping::Inline, 16 << 10);
    let config = FileLogConfig { housekeeping, segment_bytes, ..on_a_ring(dir.path()) };
    let mut log = FileLog::open(config).expect("a new log");
    if !has_ring(&log) {
        return;
    }
    for (at, size) in [(1, 1000), (2, 15_000), (3, 15_000), (4, 100)] {
        let batch = WriteBatch::of_entries(vec![sized_entry(at, 1, 0, size)]);
        runtime().block_on(log.write(batch)).expect("sound");
    }
    assert_eq!(log.bounds().last.index.get(), 4);
}
