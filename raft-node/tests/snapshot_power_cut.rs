//! What a power cut, or an error of the disk, leaves of a member's snapshots.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use bytes::Bytes;
use crash_disk::crash::{Cut, FATES, Names};
use crash_disk::{Failure, Fault, Operation, mount_or_skip};
use raft_core::types::{ClusterId, EntryId, Identity, LogIndex, Membership, NodeId, StoreId, Term};
use raft_node::{SnapshotDir, SnapshotHead};

/// Two chunks.
const STATE_BYTES: usize = 300_000;

fn id(index: u64) -> EntryId {
    EntryId::new(Term::new(3), LogIndex::new(index))
}

fn head(last: EntryId) -> SnapshotHead {
    let node = NodeId::new(1).expect("not zero");
    SnapshotHead {
        writer: Identity { cluster: ClusterId(1), node, store: StoreId(1) },
        last,
        membership: Membership::of_voters([(node, Bytes::new())]).expect("sound"),
        feature_level: 1,
        sessions: Default::default(),
        salt: last.index.get(),
    }
}

/// The state after an entry.
fn state(last: EntryId) -> Vec<u8> {
    vec![last.index.get() as u8; STATE_BYTES]
}

fn keep(dir: &SnapshotDir, last: EntryId) -> io::Result<u64> {
    let mut new = dir.create(head(last))?;
    new.write_all(&state(last))?;
    Ok(new.keep()?.file_bytes)
}

/// The snapshot that a member finds when it starts; all its bytes are compared.
fn found_at_start(path: &Path) -> Option<EntryId> {
    let dir = SnapshotDir::own(path).expect("owned");
    let (newest, damaged) = dir.newest().expect("read");
    assert!(damaged.is_empty(), "under its name a file is whole: {damaged:?}");
    let last = newest?.head.last;
    let mut found = Vec::new();
    dir.open(last).expect("opens").read_to_end(&mut found).expect("sound");
    assert!(found == state(last), "another state");
    let unfinished = |name: &str| name.starts_with("new.");
    let names = fs::read_dir(path).expect("listed").map(|entry| entry.expect("listed").file_name());
    assert!(!names.into_iter().any(|name| unfinished(&name.to_string_lossy())), "not removed");
    Some(last)
}

#[test]
fn a_power_cut_leaves_the_old_snapshot_or_the_new_one() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let dir = SnapshotDir::own(disk.dir().join("snapshots"))?;
    keep(&dir, id(10))?;
    let before = disk.changes();
    keep(&dir, id(20))?;
    let after = disk.changes();
    let history = disk.history();
    let mut outcomes = Vec::new();
    for at in before..=after {
        for fate in FATES {
            for names in [Names::Strict, Names::CarriedBefore(usize::MAX)] {
                let image = history.cut(&Cut { at, fate, names, seed: 7 });
                let target = tempfile::tempdir()?;
                image.tree.write_into(target.path())?;
                let found = found_at_start(&target.path().join("snapshots"));
                let is_allowed = found == Some(id(20)) || (found == Some(id(10)) && at < after);
                assert!(is_allowed, "after change {at} of {after}: {found:?}");
                outcomes.push(found);
            }
        }
    }
    assert!(outcomes.contains(&Some(id(10))), "a cut may come early");
    Ok(())
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_the_old_one() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let dir = SnapshotDir::own(disk.dir().join("snapshots"))?;
    keep(&dir, id(10))?;
    let failures = [
        (Operation::Write, 1),
        (Operation::Write, 3),
        (Operation::Sync, 1),
        (Operation::Rename, 1),
    ];
    for (on, nth) in failures {
        disk.inject(Fault { on, nth, failure: Failure::NoSpace, lasts: true });
        assert!(keep(&dir, id(20)).is_err(), "{on:?} {nth}");
        assert!(disk.clear_faults() > 0, "{on:?} {nth}");
        assert_eq!(dir.list()?, [id(10)], "{on:?} {nth}");
        assert_eq!(fs::read_dir(dir.path())?.count(), 1, "{on:?} {nth}: nothing is left over");
    }
    keep(&dir, id(20))?;
    assert_eq!(found_at_start(dir.path()), Some(id(20)));
    Ok(())
}
