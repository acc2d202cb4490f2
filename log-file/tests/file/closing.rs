//! The end of a handle: a close that fails, a write that is still in flight, and readers that
//! outlive their store.

use std::any::Any;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};

use log_file::{Disk, DiskFile, Fault, FileLog, FrameFile, Put, SimDisk, WriteBuffer};
use raft_core::storage::{LogErrorKind, LogStore, StableStore, Store, WriteBatch};
use raft_core::types::{HardState, Term};

use crate::samples::{config, entries, index, kind, look, now, open};

fn batch(first: u64, last: u64) -> WriteBatch {
    WriteBatch::of_entries(entries(first..=last, 1))
}

/// Checks that a handle refuses every change, and that nothing reaches the disk.
fn check_poisoned(log: &mut FileLog, disk: &SimDisk, what: &str) {
    let operations = disk.operations();
    let next = log.bounds().last.index.next().get();
    let vote = HardState { term: Term::new(9), vote: None };
    assert_eq!(kind(now(log.write(batch(next, next)))), LogErrorKind::Poisoned, "{what}");
    assert_eq!(kind(now(log.save_hard_state(vote))), LogErrorKind::Poisoned, "{what}");
    assert_eq!(kind(now(log.close())), LogErrorKind::Poisoned, "{what}");
    assert_eq!(disk.operations(), operations, "{what}");
}

/// What went unnoticed when it was planted: a handle accepted writes after it could not write its
/// durable mark (P15).
#[test]
fn a_close_that_fails_poisons() {
    let begun = || {
        let disk = SimDisk::new(1);
        let mut log = open(&disk).expect("a new log");
        now(log.write(batch(1, 3))).expect("sound");
        (disk, log)
    };
    let (disk, mut log) = begun();
    let before = disk.operations();
    now(log.close()).expect("closes");
    let count = disk.operations() - before;
    assert!(count > 4, "a last frame and a durable mark are written");
    for nth in 0..count {
        let (disk, mut log) = begun();
        disk.plan_fault(disk.operations() + nth, Fault::Error(io::ErrorKind::Other));
        let what = format!("operation {nth} of {count}");
        assert_eq!(kind(now(log.close())), LogErrorKind::Io, "{what}");
        check_poisoned(&mut log, &disk, &what);
    }
}

/// A disk that may hold a write of a frame in flight until it is settled.
#[derive(Clone)]
struct Slow {
    disk: SimDisk,
    flight: Arc<Mutex<Flight>>,
}

#[derive(Default)]
struct Flight {
    is_held: bool,
    held: Option<(Arc<dyn FrameFile>, WriteBuffer, u64)>,
    /// What happened, in order.
    events: Vec<&'static str>,
}

impl Slow {
    fn new() -> Slow {
        Slow { disk: SimDisk::new(1), flight: Arc::default() }
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().expect("nothing panics while it holds the flight")
    }

    fn open(&self) -> FileLog {
        FileLog::open_on(Arc::new(self.clone()), &config()).expect("opens")
    }

    /// A log of three entries, with a fourth in flight whose future was dropped.
    fn with_a_write_in_flight(&self) -> FileLog {
        let mut log = self.open();
        now(log.write(batch(1, 3))).expect("sound");
        self.flight().is_held = true;
        let mut context = Context::from_waker(Waker::noop());
        let is_pending = pin!(log.write(batch(4, 4))).poll(&mut context).is_pending();
        assert!(is_pending && self.flight().held.is_some(), "it is in flight");
        log
    }
}

impl Disk for Slow {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.unlink(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_names()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        Ok(Box::new(SlowLock { slow: self.clone(), _lock: self.disk.lock()? }))
    }

    fn random(&self) -> io::Result<u64> {
        self.disk.random()
    }

    fn place(&self, name: &str) -> String {
        self.disk.place(name)
    }

    fn open_for_frames(
        &self,
        name: &str,
        file: Arc<dyn DiskFile>,
        is_written: bool,
    ) -> io::Result<Arc<dyn FrameFile>> {
        let frames = self.disk.open_for_frames(name, file, is_written)?;
        Ok(Arc::new(SlowFrames { slow: self.clone(), frames }))
    }

    fn settle(&self) {
        let held = self.flight().held.take();
        if let Some((frames, buffer, offset)) = held {
            let Put::Done(written) = frames.put(buffer, offset) else { panic!("it does not wait") };
            written.result.expect("the disk is sound");
            self.flight().events.push("written");
        }
    }
}

struct SlowFrames {
    slow: Slow,
    frames: Arc<dyn FrameFile>,
}

impl FrameFile for SlowFrames {
    fn put(&self, buffer: WriteBuffer, offset: u64) -> Put {
        let mut flight = self.slow.flight();
        if !flight.is_held {
            return self.frames.put(buffer, offset);
        }
        flight.held = Some((self.frames.clone(), buffer, offset));
        Put::Started(Box::pin(std::future::pending()))
    }
}

struct SlowLock {
    slow: Slow,
    _lock: Box<dyn Any + Send + Sync>,
}

impl Drop for SlowLock {
    fn drop(&mut self) {
        self.slow.flight().events.push("unlocked");
    }
}

#[test]
fn a_handle_with_a_write_in_flight_writes_and_closes_no_more() {
    let slow = Slow::new();
    let mut log = slow.with_a_write_in_flight();
    check_poisoned(&mut log, &slow.disk, "a write is in flight");
    assert_eq!(log.bounds().last.index, index(3), "no reader may see it");
}

/// A write that the kernel still had after the unlocking could land on what the next owner wrote.
#[test]
fn a_directory_is_unlocked_after_the_write_in_flight_has_ended() {
    let slow = Slow::new();
    let log = slow.with_a_write_in_flight();
    // A reader keeps the disk alive.
    let reader = log.reader();
    drop(log);
    assert_eq!(slow.flight().events, ["written", "unlocked"]);
    drop(reader);
    slow.flight().is_held = false;
    assert_eq!(look(&mut slow.open()).expect("sound").bounds.last.index, index(4));
}

/// Later owners of the directory may change its files, so what the reader of a dropped store finds
/// there is no damage of its log.
#[test]
fn a_reader_that_outlives_its_store_reports_no_damage() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).expect("a new log");
    now(log.write(batch(1, 3))).expect("sound");
    let mut reader = log.reader();
    drop(log);
    disk.put("seg-0000000000000001", vec![7; 16 << 10]);
    let error = now(reader.read(index(1)..index(4), u64::MAX)).expect_err("other bytes are there");
    assert_eq!(error.kind, LogErrorKind::Io);
    let cause = error.source.expect("a cause").to_string();
    assert!(cause.contains("the store was closed"), "{cause}");
}
