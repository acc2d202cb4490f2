//! Tests of the disk whose power can be cut: that it is a file system, that it records operations,
//! that faults are injected as requested, and what a cut leaves.

#![cfg(target_os = "linux")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::Path;

use crash_disk::crash::{Cut, FATES, Fate, Names};
use crash_disk::{Change, Disk, Failure, Fault, History, Operation, mount_or_skip};
use rustix::fs::{CWD, FallocateFlags, FlockOperation, OFlags, RenameFlags};
use rustix::io::ReadWriteFlags;

/// The recorded operations as text, without the creations.
fn noted(disk: &Disk) -> Vec<String> {
    let history = disk.history();
    let paths = history.paths();
    let words = history.changes.iter().map(|change| History::in_words(change, &paths));
    words.filter(|words| !words.starts_with("create")).collect()
}

fn cut(disk: &Disk, fate: Fate, names: Names) -> crash_disk::crash::Image {
    disk.history().cut(&Cut { at: disk.changes(), fate, names, seed: 7 })
}

/// The content of a file after a cut; `None` if the file does not exist.
fn after(image: &crash_disk::crash::Image, name: &str) -> Option<Vec<u8>> {
    let target = tempfile::tempdir().expect("a directory");
    image.tree.write_into(target.path()).expect("the image is written");
    fs::read(target.path().join(name)).ok()
}

fn open(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).open(path).expect("it opens")
}

#[test]
fn files_are_written_read_truncated_and_extended() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let path = disk.dir().join("a");
    let file = open(&path);
    file.write_all_at(b"hello", 0)?;
    file.write_all_at(b"world", 100_000)?;
    assert_eq!(fs::metadata(&path)?.len(), 100_005);
    let mut bytes = Vec::new();
    File::open(&path)?.read_to_end(&mut bytes)?;
    assert_eq!((&bytes[..6], &bytes[99_999..]), (&b"hello\0"[..], &b"\0world"[..]));
    file.set_len(3)?;
    file.set_len(8)?;
    assert_eq!(fs::read(&path)?, b"hel\0\0\0\0\0");
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 1 << 20)?;
    assert_eq!(fs::metadata(&path)?.len(), 8);
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 9)?;
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, hole, 1, 1)?;
    assert_eq!(fs::read(&path)?, b"h\0l\0\0\0\0\0\0");
    rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 0, 12)?;
    assert_eq!(fs::read(&path)?, [0; 12]);
    let mut appending = OpenOptions::new().append(true).open(&path)?;
    appending.write_all(b"end")?;
    assert_eq!(&fs::read(&path)?[12..], b"end");
    let big = vec![7; 5 << 20];
    fs::write(disk.dir().join("big"), &big)?;
    assert_eq!(fs::read(disk.dir().join("big"))?, big);
    Ok(())
}

#[test]
fn names_are_created_renamed_exchanged_and_removed() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let at = |name: &str| disk.dir().join(name);
    fs::create_dir_all(at("d/e"))?;
    for name in ["a", "b", "d/e/c"] {
        fs::write(at(name), name)?;
    }
    fs::hard_link(at("a"), at("d/a"))?;
    symlink("d/e/c", at("s"))?;
    assert_eq!((fs::read(at("s"))?, fs::read(at("d/a"))?), (b"d/e/c".to_vec(), b"a".to_vec()));
    fs::rename(at("a"), at("b"))?;
    assert_eq!((fs::read(at("b"))?, at("a").exists()), (b"a".to_vec(), false));
    let taken = rustix::fs::renameat_with(CWD, at("b"), CWD, at("s"), RenameFlags::NOREPLACE);
    assert_eq!(taken, Err(rustix::io::Errno::EXIST));
    rustix::fs::renameat_with(CWD, at("b"), CWD, at("d/e/c"), RenameFlags::EXCHANGE)?;
    assert_eq!((fs::read(at("b"))?, fs::read(at("d/e/c"))?), (b"d/e/c".to_vec(), b"a".to_vec()));
    assert!(fs::remove_dir(at("d")).is_err_and(|error| error.raw_os_error() == Some(39)));
    let open = open(&at("b"));
    fs::remove_file(at("b"))?;
    open.write_all_at(b"still here", 0)?;
    let mut bytes = [0; 10];
    open.read_exact_at(&mut bytes, 0)?;
    assert_eq!(&bytes, b"still here");
    for number in 0..400 {
        fs::write(at(&format!("d/many-{number:060}")), b"")?;
    }
    assert_eq!(fs::read_dir(at("d"))?.count(), 402);
    fs::remove_dir_all(at("d"))?;
    assert_eq!(fs::read_dir(disk.dir())?.count(), 1);
    Ok(())
}

#[test]
fn a_lock_excludes_other_openers() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let (one, other) = (open(&disk.dir().join("lock")), open(&disk.dir().join("lock")));
    rustix::fs::flock(&one, FlockOperation::NonBlockingLockExclusive)?;
    let held = rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(held, Err(rustix::io::Errno::WOULDBLOCK));
    drop(one);
    rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive)?;
    Ok(())
}

#[test]
fn each_way_to_sync_is_recorded() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let path = disk.dir().join("a");
    let file = open(&path);
    let with = |flags: OFlags| {
        OpenOptions::new().write(true).custom_flags(flags.bits() as i32).open(&path)
    };
    let mut expected = Vec::new();
    let mut is_noted = |what: &[&str], how: &str| {
        expected.extend(what.iter().map(|what| (*what).to_owned()));
        assert_eq!(noted(&disk), expected, "{how}");
    };
    let write = "write 4096 bytes at 0 of a";
    let own = "sync 4096 bytes at 0 of a";
    let page = [1; 4096];
    file.write_all_at(&page, 0)?;
    is_noted(&[write], "a plain write");
    file.sync_data()?;
    is_noted(&["sync a"], "fdatasync");
    file.sync_data()?;
    is_noted(&["sync a"], "fdatasync of a clean file");
    with(OFlags::DSYNC)?.write_all_at(&page, 0)?;
    is_noted(&[write, own], "O_DSYNC");
    with(OFlags::SYNC)?.write_all_at(&page, 0)?;
    is_noted(&[write, own], "O_SYNC");
    rustix::io::pwritev2(&file, &[IoSlice::new(&page)], 0, ReadWriteFlags::DSYNC)?;
    is_noted(&[write, own], "RWF_DSYNC");
    with(OFlags::DIRECT)?.write_all_at(&page, 0)?;
    is_noted(&[write], "O_DIRECT");
    with(OFlags::DIRECT | OFlags::DSYNC)?.write_all_at(&page, 0)?;
    is_noted(&[write, own], "O_DIRECT and O_DSYNC");
    File::open(disk.dir())?.sync_all()?;
    is_noted(&["sync the directory"], "fsync of a directory");
    with(OFlags::TRUNC)?;
    is_noted(&["resize a to 0 bytes"], "O_TRUNC");
    Ok(())
}

#[test]
fn operations_fail_as_injected() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let fault = |on, nth, failure, lasts| disk.inject(Fault { on, nth, failure, lasts });
    let code = |done: io::Result<()>| done.err().and_then(|error| error.raw_os_error());
    let file = open(&disk.dir().join("a"));
    fault(Operation::Write, 2, Failure::Io, false);
    assert_eq!(code(file.write_all_at(b"1", 0)), None);
    assert_eq!(code(file.write_all_at(b"2", 1)), Some(5));
    assert_eq!(code(file.write_all_at(b"3", 1)), None);
    fault(Operation::Write, 1, Failure::Short, false);
    assert_eq!(file.write_at(b"abcdef", 2)?, 3);
    assert_eq!(fs::read(disk.dir().join("a"))?, b"13abc");
    assert_eq!(disk.clear_faults(), 2);
    fault(Operation::Any, 1, Failure::NoSpace, true);
    assert_eq!(code(file.write_all_at(b"2", 1)), Some(28));
    assert_eq!(code(File::create(disk.dir().join("b")).map(|_| ())), Some(28));
    assert_eq!(code(file.set_len(9)), Some(28));
    assert_eq!(code(fs::remove_file(disk.dir().join("a"))), Some(28));
    assert_eq!(disk.clear_faults(), 4);
    fault(Operation::Rename, 1, Failure::Io, false);
    let (from, to) = (disk.dir().join("a"), disk.dir().join("c"));
    assert_eq!(code(fs::rename(&from, &to)), Some(5));
    assert_eq!(code(fs::rename(&from, &to)), None);
    fault(Operation::Read, 1, Failure::Io, false);
    assert_eq!(code(fs::read(&to).map(|_| ())), Some(5));
    assert_eq!(fs::read(&to)?, b"13abc");
    Ok(())
}

#[test]
fn a_fault_of_a_name_leaves_other_files_alone() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let fault = |on, nth| Fault { on, nth, failure: Failure::Io, lasts: false };
    let [a, b] = ["a.log", "b.table"].map(|name| open(&disk.dir().join(name)));
    disk.inject_into(".table", fault(Operation::Sync, 2));
    let synced = [&a, &b, &a, &b, &b].map(|file| file.sync_all().is_ok());
    assert_eq!(synced, [true, true, true, false, true]);
    disk.inject_into(".table", fault(Operation::Unlink, 1));
    disk.inject_into("c", fault(Operation::Create, 1));
    fs::remove_file(disk.dir().join("a.log"))?;
    open(&disk.dir().join("d"));
    assert!(fs::remove_file(disk.dir().join("b.table")).is_err());
    assert!(File::create(disk.dir().join("c")).is_err());
    assert_eq!(disk.clear_faults(), 3);
    Ok(())
}

#[test]
fn the_bytes_of_a_failed_sync_are_lost_at_the_next_cut() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let file = open(&disk.dir().join("a"));
    file.write_all_at(b"first", 0)?;
    file.sync_all()?;
    File::open(disk.dir())?.sync_all()?;
    file.write_all_at(b"FIRST", 0)?;
    disk.inject(Fault { on: Operation::Sync, nth: 1, failure: Failure::Io, lasts: false });
    assert!(file.sync_all().is_err());
    file.write_all_at(b"second", 5)?;
    file.sync_all()?;
    assert_eq!(fs::read(disk.dir().join("a"))?, b"FIRSTsecond");
    let lost = cut(&disk, Fate::Lost, Names::Strict);
    assert_eq!(after(&lost, "a"), Some(b"firstsecond".to_vec()));
    Ok(())
}

#[test]
fn a_sync_without_effect_makes_nothing_durable() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    disk.inject(Fault { on: Operation::Sync, nth: 1, failure: Failure::Lie, lasts: true });
    let file = open(&disk.dir().join("a"));
    file.write_all_at(b"first", 0)?;
    file.sync_all()?;
    assert_eq!(after(&cut(&disk, Fate::Lost, Names::CarriedBefore(99)), "a"), None);
    assert_eq!(after(&cut(&disk, Fate::Kept, Names::Strict), "a"), Some(b"first".to_vec()));
    Ok(())
}

#[test]
fn synced_data_survives_every_fate() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let file = open(&disk.dir().join("a"));
    File::open(disk.dir())?.sync_all()?;
    let durable: Vec<u8> = (0..9000_u32).map(|at| at as u8).collect();
    file.write_all_at(&durable, 0)?;
    file.sync_data()?;
    for number in 0..9 {
        file.write_all_at(&[0xee; 3000], 9000 + number * 3000)?;
    }
    let mut seen = std::collections::BTreeSet::new();
    for (seed, fate) in (0..40).flat_map(|seed| FATES.map(|fate| (seed, fate))) {
        let names = Names::Strict;
        let cut = Cut { at: disk.changes(), fate, names, seed };
        let image = disk.history().cut(&cut);
        let bytes = after(&image, "a").expect("its name was synced");
        assert!(bytes.starts_with(&durable), "{cut:?}");
        assert!(bytes[9000..].iter().all(|byte| [0, 0xee].contains(byte)), "{cut:?}");
        assert_eq!(
            bytes.len() == 9000 + 27_000 && !bytes[9000..].contains(&0),
            image.missing.is_empty(),
            "{cut:?}: {:?}",
            image.missing
        );
        assert_eq!(
            disk.history().cut(&cut).missing,
            image.missing,
            "the same cut has the same result"
        );
        seen.insert(bytes);
    }
    assert!(seen.len() > 60, "only {} different images", seen.len());
    Ok(())
}

#[test]
fn names_are_durable_once_their_directory_was_synced() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let at = |name: &str| disk.dir().join(name);
    fs::create_dir(at("d"))?;
    fs::write(at("d/a"), b"a")?;
    open(&at("d/a")).sync_all()?;
    let founded = disk.changes();
    // The file was synced, but neither directory was.
    assert_eq!(after(&cut(&disk, Fate::Lost, Names::Strict), "d/a"), None);
    let carried = Names::CarriedBefore(founded);
    assert_eq!(after(&cut(&disk, Fate::Lost, carried), "d/a"), Some(b"a".to_vec()));
    fs::write(at("d/b"), b"b")?;
    open(&at("d/b")).sync_all()?;
    assert_eq!(after(&cut(&disk, Fate::Lost, carried), "d/b"), None);
    File::open(at("d"))?.sync_all()?;
    assert_eq!(after(&cut(&disk, Fate::Lost, carried), "d/b"), Some(b"b".to_vec()));
    fs::rename(at("d/a"), at("d/b"))?;
    fs::rename(at("d/b"), at("c"))?;
    assert_eq!(after(&cut(&disk, Fate::Lost, carried), "d/b"), Some(b"b".to_vec()));
    // A rename is one step, and survives with all earlier changes in both directories.
    File::open(disk.dir())?.sync_all()?;
    let image = cut(&disk, Fate::Lost, Names::Strict);
    assert_eq!(after(&image, "c"), Some(b"a".to_vec()));
    assert_eq!((after(&image, "d/a"), after(&image, "d/b")), (None, None));
    Ok(())
}

#[test]
fn the_write_in_flight_is_torn_between_bytes_only_over_zeros() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let file = open(&disk.dir().join("a"));
    let lengths = |disk: &Disk, byte| {
        let cuts = (0..200).map(|seed| Cut {
            at: disk.changes(),
            fate: Fate::Torn,
            names: Names::CarriedBefore(9),
            seed,
        });
        let images = cuts.filter_map(|cut| after(&disk.history().cut(&cut), "a"));
        let kept = images.map(|bytes| bytes.iter().filter(|it| **it == byte).count());
        kept.collect::<std::collections::BTreeSet<usize>>()
    };
    file.write_all_at(&[1; 300], 0)?;
    assert!(lengths(&disk, 1).len() > 50, "{:?}", lengths(&disk, 1));
    file.sync_all()?;
    file.write_all_at(&[2; 300], 0)?;
    assert_eq!(lengths(&disk, 2), [0, 300].into(), "within one sector that was not all zeros");
    file.write_all_at(&[3; 1200], 0)?;
    assert!(lengths(&disk, 3).iter().all(|kept| [0, 512, 1024, 1200, 176, 688].contains(kept)));
    Ok(())
}

#[test]
fn a_disk_can_continue_from_the_history_of_another() -> io::Result<()> {
    let Some(first) = mount_or_skip() else { return Ok(()) };
    let file = open(&first.dir().join("a"));
    file.write_all_at(b"not durable", 0)?;
    first.mark(17);
    let history = first.history();
    assert_eq!(history.changes.last(), Some(&Change::Mark(17)));
    let second = Disk::mount_after(history).expect("mounted, as the first one was");
    drop(first);
    assert_eq!(fs::read(second.dir().join("a"))?, b"not durable");
    assert_eq!(after(&cut(&second, Fate::Lost, Names::CarriedBefore(9)), "a"), None);
    open(&second.dir().join("a")).sync_all()?;
    let image = cut(&second, Fate::Lost, Names::CarriedBefore(9));
    assert_eq!(after(&image, "a"), Some(b"not durable".to_vec()));
    Ok(())
}

#[test]
fn nothing_stays_mounted() {
    let Some(disk) = mount_or_skip() else { return };
    let point = disk.dir().to_owned();
    let is_mounted = || {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("Linux lists its mounts");
        mounts.contains(point.to_str().expect("the path is plain"))
    };
    assert!(is_mounted());
    let held = open(&point.join("a"));
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _disk = disk;
        panic!("a test fails while the disk is mounted and a file on it is open");
    }));
    assert!(failed.is_err() && !is_mounted() && !point.exists());
    // A file that is still open stays usable.
    held.write_all_at(b"x", 0).expect("the open file still works");
}

#[test]
fn a_synchronous_write_makes_only_its_own_pages_durable() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let file = open(&disk.dir().join("log"));
    file.write_all_at(&[1; 20_000], 0)?;
    let flags = ReadWriteFlags::DSYNC;
    rustix::io::pwritev2(&file, &[IoSlice::new(&[2; 16])], 20_000, flags)?;
    File::open(disk.dir())?.sync_all()?;
    let image = cut(&disk, Fate::Lost, Names::Strict);
    let left = after(&image, "log").expect("the name is durable");
    assert_eq!(left.len(), 20_016);
    assert_eq!(left[20_000..], [2; 16], "the synchronous write");
    assert_eq!(left[..16_384], [0; 16_384], "the earlier write, in other pages");
    file.sync_data()?;
    let left = after(&cut(&disk, Fate::Lost, Names::Strict), "log").expect("it is there");
    assert_eq!(left[..20_000], [1; 20_000], "a sync of the file covers everything");
    Ok(())
}

/// What went wrong: such a write came in two parts, and its sync covered only the first one.
#[test]
fn a_synchronous_write_across_a_page_boundary_is_completely_durable() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let file = open(&disk.dir().join("log"));
    File::open(disk.dir())?.sync_all()?;
    for at in 0..20 {
        let flags = ReadWriteFlags::DSYNC;
        rustix::io::pwritev2(&file, &[IoSlice::new(&[7; 824])], at * 824, flags)?;
        let left = after(&cut(&disk, Fate::Lost, Names::Strict), "log").expect("it is there");
        assert_eq!(left, vec![7; (at as usize + 1) * 824]);
    }
    Ok(())
}

#[test]
fn a_held_sync_returns_when_it_is_released() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let file = open(&disk.dir().join("log"));
    file.write_all_at(b"held", 0)?;
    disk.hold_syncs();
    let syncing = std::thread::spawn(move || file.sync_all());
    while disk.held_syncs() == 0 {
        std::thread::yield_now();
    }
    assert!(!syncing.is_finished());
    disk.release_syncs();
    syncing.join().expect("no panic")?;
    assert_eq!(noted(&disk), ["write 4 bytes at 0 of log", "sync log"]);
    Ok(())
}

#[test]
fn the_syncs_of_other_files_are_not_held() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let [log, table] = ["a.log", "b.table"].map(|name| open(&disk.dir().join(name)));
    disk.hold_syncs_of(".table", 2);
    for file in [&log, &table, &log] {
        file.sync_all()?;
    }
    assert_eq!(disk.held_syncs(), 0);
    std::thread::scope(|scope| {
        let held = scope.spawn(|| table.sync_all());
        while disk.held_syncs() == 0 {
            assert!(!held.is_finished(), "the second sync of the table is held");
            std::thread::yield_now();
        }
        log.sync_all()?;
        disk.release_syncs();
        held.join().expect("no panic")
    })
}
