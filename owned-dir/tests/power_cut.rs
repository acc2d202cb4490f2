//! The state that a power cut leaves of directories, names, and files that are replaced completely.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{self, Write};

use crash_disk::crash::{Cut, FATES, Fate, Names};
use crash_disk::{Disk, Failure, Fault, Operation, mount_or_skip};
use owned_dir::{Directory, make, put_whole};

const NAME: &str = "cluster.toml";

/// The file's content after each possible power cut from this change on.
fn after_cuts(disk: &Disk, from: usize) -> Vec<(usize, Option<Vec<u8>>)> {
    let history = disk.history();
    let mut found = Vec::new();
    for at in from..=history.changes.len() {
        for fate in FATES {
            for names in [Names::Strict, Names::CarriedBefore(usize::MAX)] {
                let image = history.cut(&Cut { at, fate, names, seed: 7 });
                let target = tempfile::tempdir().expect("a directory");
                image.tree.write_into(target.path()).expect("the image is written");
                found.push((at, fs::read(target.path().join(NAME)).ok()));
            }
        }
    }
    found
}

#[test]
fn a_power_cut_leaves_the_old_content_or_the_new_one() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let (old, new) = (vec![1; 5000], vec![2; 9000]);
    put_whole(disk.dir(), NAME, &old)?;
    let before = disk.changes();
    put_whole(disk.dir(), NAME, &new)?;
    let after = disk.changes();
    let found = after_cuts(&disk, before);
    for (at, content) in &found {
        let is_allowed =
            content.as_ref() == Some(&new) || (content.as_ref() == Some(&old) && *at < after);
        assert!(
            is_allowed,
            "after change {at} of {after}: {:?} bytes",
            content.as_ref().map(Vec::len)
        );
    }
    assert!(
        found.iter().any(|(_, content)| content.as_ref() == Some(&old)),
        "a cut may come early"
    );
    Ok(())
}

#[test]
fn a_failed_call_leaves_the_old_content_and_may_be_repeated() -> io::Result<()> {
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    put_whole(disk.dir(), NAME, b"old")?;
    for on in [Operation::Write, Operation::Sync, Operation::Rename] {
        disk.inject(Fault { on, nth: 1, failure: Failure::Io, lasts: false });
        assert!(put_whole(disk.dir(), NAME, b"new").is_err(), "{on:?}");
        assert_eq!(fs::read(disk.dir().join(NAME))?, b"old");
    }
    put_whole(disk.dir(), NAME, b"new")?;
    assert_eq!(fs::read(disk.dir().join(NAME))?, b"new");
    Ok(())
}

/// What went unnoticed when it was planted: the names of new directories were not synced, nor those
/// that an earlier process had created and not synced.
#[test]
fn a_directory_that_was_made_survives_a_power_cut() -> io::Result<()> {
    for is_there in [false, true] {
        let Some(disk) = mount_or_skip() else { return Ok(()) };
        let path = "data/member/log";
        let deepest = disk.dir().join(path);
        fs::create_dir(disk.dir().join("data"))?;
        File::open(disk.dir())?.sync_all()?;
        fs::create_dir(disk.dir().join("data/member"))?;
        File::open(disk.dir().join("data"))?.sync_all()?;
        if is_there {
            // The process that created it ended before it synced the name.
            fs::create_dir(&deepest)?;
        } else {
            fs::remove_dir(disk.dir().join("data/member"))?;
        }
        make(&deepest)?;
        let cut = Cut { at: disk.changes(), fate: Fate::Lost, names: Names::Strict, seed: 0 };
        let after = tempfile::tempdir()?;
        disk.history().cut(&cut).tree.write_into(after.path())?;
        assert!(after.path().join(path).is_dir(), "there before: {is_there}");
    }
    Ok(())
}

/// What went unnoticed when it was planted: the new name was not synced.
#[test]
fn a_file_that_was_renamed_keeps_its_name_after_a_power_cut() -> io::Result<()> {
    const NAMES: owned_dir::Names = owned_dir::Names { known: &["log"], unfinished: &["new.log"] };
    let Some(disk) = mount_or_skip() else { return Ok(()) };
    let owned = Directory::own(&disk.dir().join("dir"), NAMES).expect("free");
    let mut file = File::create(owned.path("new.log"))?;
    file.write_all(b"bytes")?;
    file.sync_all()?;
    owned.rename("new.log", "log")?;
    let cut = Cut { at: disk.changes(), fate: Fate::Lost, names: Names::Strict, seed: 0 };
    let after = tempfile::tempdir()?;
    disk.history().cut(&cut).tree.write_into(after.path())?;
    assert_eq!(fs::read(after.path().join("dir/log"))?, b"bytes");
    Ok(())
}
