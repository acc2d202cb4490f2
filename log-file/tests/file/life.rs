//! The life of a log on a disk: one store at a time, many openings, and segments that are added and
//! removed.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use log_file::{Alignment, Disk, DiskFile, FileLog, FileLogConfig, Housekeeping, SimDisk};
use raft_core::storage::{LogErrorKind, LogStore, Store, WriteBatch};

use crate::samples::{entries, id, index, is_deep, kind, look, now, open, sized_entry};

fn bytes_on_disk(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let sizes = std::fs::read_dir(dir).expect("lists").map(|entry| {
        let metadata = entry.expect("an entry").metadata().expect("its size");
        metadata.len().max(metadata.blocks() * 512)
    });
    sizes.sum()
}

#[test]
fn a_directory_has_one_store_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = FileLogConfig::new(dir.path().join("new/log"));
    let first = FileLog::open(config.clone()).expect("a new log");
    let error = FileLog::open(config.clone()).err().expect("in use");
    assert_eq!(error.kind, LogErrorKind::InUse);
    assert!(error.place.contains("lock"), "{error}");
    drop(first);
    FileLog::open(config).expect("free again");
}

#[test]
fn an_invalid_segment_length_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    for segment_bytes in [0, 4096, 65_537, 1 << 40] {
        let config = FileLogConfig { segment_bytes, ..FileLogConfig::new(dir.path()) };
        let error = FileLog::open(config).err().expect("refused");
        assert!(error.to_string().contains("segment_bytes"), "{error}");
    }
}

#[test]
fn a_thousand_reopenings_leak_no_space() {
    // Each opening reads all the small segments before it, which a debug build does slowly.
    let rounds = if cfg!(debug_assertions) && !is_deep() { 300 } else { 1000 };
    let dir = tempfile::tempdir().expect("a directory");
    let config = FileLogConfig::new(dir.path());
    let segment_bytes = config.segment_bytes;
    for round in 1..=rounds {
        let mut log = FileLog::open(config.clone()).expect("opens");
        assert_eq!(log.bounds().last.index, index(round - 1));
        let batch = WriteBatch::of_entries(vec![sized_entry(round, 1, 0, 256)]);
        now(log.write(batch)).expect("sound");
        if round % 3 == 0 {
            now(log.close()).expect("closes");
        }
    }
    let bytes = bytes_on_disk(dir.path());
    assert!(bytes < rounds * (16 << 10) + (8 << 20), "{bytes} bytes for {rounds} small entries");
    assert!(bytes < 3 * segment_bytes, "{bytes} bytes for {rounds} small entries");
    let start = Instant::now();
    let mut log = FileLog::open(config).expect("opens");
    assert!(start.elapsed().as_secs() < 2, "opening took {:?}", start.elapsed());
    assert_eq!(look(&mut log).expect("sound").entries.len() as u64, rounds);
}

#[test]
fn reopenings_without_a_write_change_nothing() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).expect("a new log");
    now(log.write(WriteBatch::of_entries(entries(1..=3, 1)))).expect("sound");
    drop(log);
    drop(open(&disk).expect("opens"));
    let names = || log_file::Disk::list(&disk).expect("lists");
    let before = names();
    for _ in 0..20 {
        assert_eq!(look(&mut open(&disk).expect("opens")).expect("sound").entries.len(), 3);
    }
    assert_eq!(names().len(), before.len());
}

/// Bytes of a torn write must not come back when the segment is reused: it has a new salt.
#[test]
fn a_segment_that_is_used_again_has_a_new_salt() {
    let disk = SimDisk::new(1);
    let salt = || disk.bytes("seg-0000000000000002").expect("it is there")[24..32].to_vec();
    let mut log = open(&disk).expect("a new log");
    now(log.write(WriteBatch::of_entries(entries(1..=3, 1)))).expect("sound");
    drop(log);
    let mut salts = std::collections::BTreeSet::new();
    for _ in 0..5 {
        drop(open(&disk).expect("opens"));
        assert!(salts.insert(salt()), "a salt was used twice");
    }
}

/// Runs a log for many segments with few live entries; returns the bytes that it takes.
fn bytes_after_purging(housekeeping: Housekeeping) -> u64 {
    let dir = tempfile::tempdir().expect("a directory");
    let config =
        FileLogConfig { segment_bytes: 64 << 10, housekeeping, ..FileLogConfig::new(dir.path()) };
    let mut log = FileLog::open(config.clone()).expect("a new log");
    for at in 1..=3000u64 {
        let purge = (at > 100 && at % 50 == 0).then(|| id(at - 100, 1));
        let entry = sized_entry(at, 1, 0, 1000);
        let batch = WriteBatch { purge_upto: purge, ..WriteBatch::of_entries(vec![entry]) };
        now(log.write(batch)).expect("sound");
    }
    let live = look(&mut log).expect("sound").entries.len();
    assert_eq!(live, 100);
    drop(log);
    let mut log = FileLog::open(config).expect("opens");
    assert_eq!(look(&mut log).expect("sound").bounds.first(), index(2901));
    drop(log);
    bytes_on_disk(dir.path())
}

#[test]
fn purged_segments_give_their_space_back() {
    for housekeeping in [Housekeeping::Inline, Housekeeping::Thread] {
        let bytes = bytes_after_purging(housekeeping);
        assert!(bytes < 8 * (64 << 10), "{bytes} bytes with {housekeeping:?}");
    }
}

#[test]
fn a_reset_gives_all_space_back_and_outlives_its_segments() {
    let disk = SimDisk::new(4);
    let mut log = open(&disk).expect("a new log");
    for at in 1..=40 {
        let batch = WriteBatch::of_entries(vec![sized_entry(at, 1, 0, 2000)]);
        now(log.write(batch)).expect("sound");
    }
    now(log.reset(id(500, 3))).expect("sound");
    now(log.append(&entries(501..=502, 3))).expect("sound");
    let segments = log_file::Disk::list(&disk).expect("lists");
    let segments = segments.iter().filter(|name| name.starts_with("seg-")).count();
    assert!(segments <= 2, "{segments} segments for two entries");
    drop(log);
    disk.crash(9);
    let inspected = look(&mut open(&disk).expect("opens")).expect("sound");
    assert_eq!((inspected.bounds.boundary, inspected.bounds.last), (id(500, 3), id(502, 3)));
}

#[test]
fn an_entry_may_be_larger_than_a_segment() {
    let disk = SimDisk::new(2);
    let mut log = open(&disk).expect("a new log");
    let sizes = [10, 100_000, 0, 1, 16_000, 9 << 20, 5];
    let all: Vec<_> = (1..).zip(sizes).map(|(at, size)| sized_entry(at, 1, 0, size)).collect();
    for entry in &all {
        now(log.append(std::slice::from_ref(entry))).expect("sound");
    }
    assert_eq!(look(&mut log).expect("sound").entries, all);
    drop(log);
    disk.crash(1);
    assert_eq!(look(&mut open(&disk).expect("opens")).expect("sound").entries, all);
}

#[test]
fn a_batch_can_begin_on_any_boundary() {
    for (alignment, bytes) in
        [(Alignment::Packed, 8), (Alignment::Sector, 512), (Alignment::Page, 4096)]
    {
        let disk = SimDisk::new(2);
        let config = FileLogConfig { alignment, ..crate::samples::config() };
        let open = || FileLog::open_on(std::sync::Arc::new(disk.clone()), &config);
        let mut log = open().expect("a new log");
        for at in 1..=30 {
            now(log.append(&entries(at..=at, 1))).expect("sound");
        }
        let frames = log_file::Disk::list(&disk).expect("lists").into_iter().flat_map(|name| {
            let bytes = disk.bytes(&name).expect("it is there");
            let starts = bytes.windows(4).enumerate().filter(|(_, four)| four == b"KTKF");
            starts.map(|(at, _)| at).collect::<Vec<_>>()
        });
        let frames: Vec<_> = frames.collect();
        assert_eq!(frames.len(), 30);
        assert!(frames.iter().all(|at| at % bytes == 0), "{alignment:?}: {frames:?}");
        drop(log);
        assert_eq!(look(&mut open().expect("opens")).expect("sound").entries.len(), 30);
    }
}

/// Once enough is written, the writer leaves the rest of a growing segment for one that was written
/// beforehand; a few writes after an opening prepare nothing.
#[test]
fn a_log_in_use_leaves_its_growing_segment_early() {
    let disk = SimDisk::new(3).in_blocks_of(512);
    let config = FileLogConfig { segment_bytes: 8 << 20, ..crate::samples::config() };
    let open = || FileLog::open_on(std::sync::Arc::new(disk.clone()), &config).expect("opens");
    let segments = || {
        let names = log_file::Disk::list(&disk).expect("lists");
        names.iter().filter(|name| name.starts_with("seg-")).count()
    };
    let mut log = open();
    let all: Vec<_> = (1..=40).map(|at| sized_entry(at, 1, 0, 60_000)).collect();
    for entry in &all[..10] {
        now(log.append(std::slice::from_ref(entry))).expect("sound");
    }
    assert_eq!(segments(), 1, "little was written");
    for entry in &all[10..] {
        now(log.append(std::slice::from_ref(entry))).expect("sound");
    }
    assert_eq!(segments(), 2);
    let first = disk.bytes("seg-0000000000000001").expect("it is there").len();
    assert!(first < 4 << 20, "{first} bytes, most of them after the last frame");
    let frame = disk.bytes("seg-0000000000000002").expect("it is there")[8192..8196].to_vec();
    assert_eq!(frame, b"KTKF", "it is written to");
    drop(log);
    disk.crash(4);
    assert_eq!(look(&mut open()).expect("sound").entries, all);
}

#[test]
fn a_refusal_touches_no_byte() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).expect("a new log");
    let operations = disk.operations();
    let LogErrorKind::Refused(_) = kind(now(log.append(&entries(2..=2, 1)))) else {
        panic!("a gap must be refused");
    };
    assert_eq!(disk.operations(), operations, "a refusal writes nothing");
    now(log.append(&entries(1..=1, 1))).expect("not poisoned");
}

/// What went wrong: a segment without a frame was reused, though its process may have been killed
/// while the kernel still had its first frame. That frame landed on an acknowledged one.
#[cfg(unix)]
#[test]
fn a_file_of_an_earlier_process_is_not_written_again() {
    use std::os::unix::fs::MetadataExt;

    let dir = tempfile::tempdir().expect("a directory");
    let config = FileLogConfig { segment_bytes: 64 << 10, ..FileLogConfig::new(dir.path()) };
    let mut log = FileLog::open(config.clone()).expect("a new log");
    now(log.append(&entries(1..=3, 1))).expect("sound");
    drop(log);
    // The log is opened and left without a frame in its new segment. While the file is held open,
    // no other file gets its number.
    drop(FileLog::open(config.clone()).expect("opens"));
    let empty = dir.path().join("seg-0000000000000002");
    let held = std::fs::File::open(&empty).expect("the segment without a frame");
    let mut log = FileLog::open(config).expect("opens");
    now(log.append(&entries(4..=5, 1))).expect("sound");
    let number = |metadata: std::io::Result<std::fs::Metadata>| metadata.expect("there").ino();
    let all = std::fs::read_dir(dir.path()).expect("lists");
    let own = number(held.metadata());
    assert!(all.into_iter().all(|file| number(file.expect("an entry").metadata()) != own));
}

/// A disk on which no file can be created for a while: the process has no descriptor left.
struct Lacking {
    disk: SimDisk,
    /// How many more times the creation of a file fails.
    failures: AtomicU32,
}

impl Disk for Lacking {
    fn create(&self, name: &str) -> std::io::Result<Arc<dyn DiskFile>> {
        const EMFILE: i32 = 24;
        let fails = |left: u32| left.checked_sub(1);
        match self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails) {
            Ok(_) => Err(std::io::Error::from_raw_os_error(EMFILE)),
            Err(_) => self.disk.create(name),
        }
    }

    fn open(&self, name: &str) -> std::io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }

    fn unlink(&self, name: &str) -> std::io::Result<()> {
        self.disk.unlink(name)
    }

    fn sync_names(&self) -> std::io::Result<()> {
        self.disk.sync_names()
    }

    fn list(&self) -> std::io::Result<Vec<String>> {
        self.disk.list()
    }

    fn lock(&self) -> std::io::Result<Box<dyn Any + Send + Sync>> {
        self.disk.lock()
    }

    fn random(&self) -> std::io::Result<u64> {
        self.disk.random()
    }

    fn place(&self, name: &str) -> String {
        self.disk.place(name)
    }
}

/// What went wrong: a process that had no free descriptor when a segment was full lost its log,
/// though one was free a moment later.
#[test]
fn a_full_segment_without_a_free_descriptor_waits_for_one() {
    let disk = Arc::new(Lacking { disk: SimDisk::new(1), failures: AtomicU32::new(0) });
    let config = FileLogConfig { housekeeping: Housekeeping::Thread, ..crate::samples::config() };
    let mut log = FileLog::open_on(disk.clone(), &config).expect("a new log");
    for at in 1..=24 {
        // Five tries fail each time, including those ahead of time.
        disk.failures.store(5, Ordering::Relaxed);
        now(log.append(&[sized_entry(at, 1, 0, 3000)])).expect("waited for");
    }
    assert_eq!(look(&mut log).expect("sound").entries.len(), 24);
}

/// Opening reads through a window of 64 KiB. A header that ends at its edge, or lies across it, is
/// read as any other.
#[test]
fn an_opening_reads_headers_at_the_edge_of_its_window() {
    const EDGE: usize = 64 << 10;
    for before in (0..=240).step_by(8) {
        let disk = SimDisk::new(1);
        let config = FileLogConfig { segment_bytes: 256 << 10, ..crate::samples::config() };
        let open = || FileLog::open_on(Arc::new(disk.clone()), &config).expect("opens");
        let mut log = open();
        // The headers, the checkpoint and the small records of the first frame take some bytes.
        let wanted = [
            sized_entry(1, 1, 0, EDGE - before),
            sized_entry(2, 1, 1, 100),
            sized_entry(3, 1, 2, EDGE),
            sized_entry(4, 1, 3, 9),
        ];
        for entry in &wanted {
            now(log.append(std::slice::from_ref(entry))).expect("sound");
        }
        drop(log);
        assert_eq!(look(&mut open()).expect("sound").entries, wanted, "{before} before the edge");
    }
}

/// The root of a mounted file system holds `lost+found`.
#[test]
fn a_log_may_lie_in_the_root_of_a_file_system() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("lost+found")).expect("made");
    drop(FileLog::open(FileLogConfig::new(dir.path())).expect("a new log"));
    drop(FileLog::open(FileLogConfig::new(dir.path())).expect("opens"));
    assert!(dir.path().join("lost+found").is_dir());
}
