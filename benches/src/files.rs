//! The files of a subject: how much space they use on the disk, and whether they have changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The unit in which the kernel counts the blocks of a file.
const BLOCK_BYTES: u64 = 512;

/// A file of at least this length that was written in place counts as changed. A shorter file may
/// be a lock or a status file of the store.
const LEAST_REWRITTEN_BYTES: u64 = 1 << 20;

/// The files below a directory at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, FileState>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    /// The bytes that the file uses on the disk.
    allocated: u64,
    len: u64,
    /// The time of the last write, in nanoseconds since 1970. Its resolution is that of the
    /// kernel's clock tick.
    written_at: i128,
}

/// The changes of the files between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The bytes that were allocated on the disk, plus those that were freed.
    pub bytes: u64,
    /// The number of files of 1 MiB or more that were written without a change of their size.
    pub rewritten: u64,
}

impl Files {
    /// All files below `dir`. Files that are removed during the scan are left out; a missing
    /// directory has no files.
    pub fn under(dir: &Path) -> Files {
        let mut files = Files::default();
        files.add(dir);
        files
    }

    fn add(&mut self, dir: &Path) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            match fs::symlink_metadata(&path) {
                Ok(about) if about.is_dir() => self.add(&path),
                Ok(about) => {
                    let written_at =
                        i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
                    let allocated = about.blocks() * BLOCK_BYTES;
                    self.0.insert(path, FileState { allocated, len: about.len(), written_at });
                }
                Err(_) => {}
            }
        }
    }

    /// The bytes that all files use on the disk.
    pub fn allocated_bytes(&self) -> u64 {
        self.0.values().map(|file| file.allocated).sum()
    }

    /// What has changed since an earlier moment.
    pub fn changed_since(&self, earlier: &Files) -> Change {
        let mut change = Change::default();
        for (path, now) in &self.0 {
            let before = earlier.0.get(path);
            let allocated_before = before.map_or(0, |before| before.allocated);
            change.bytes += now.allocated.abs_diff(allocated_before);
            let is_rewritten = before.is_some_and(|before| {
                before.allocated == now.allocated && before.written_at != now.written_at
            });
            change.rewritten += u64::from(is_rewritten && now.len >= LEAST_REWRITTEN_BYTES);
        }
        let removed = earlier.0.iter().filter(|(path, _)| !self.0.contains_key(*path));
        change.bytes += removed.map(|(_, file)| file.allocated).sum::<u64>();
        change
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn set_written_at(path: &Path, time: SystemTime) {
        let file = OpenOptions::new().write(true).open(path).expect("it is there");
        file.set_modified(time).expect("the time can be set");
    }

    #[test]
    fn what_is_allocated_and_given_back_is_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("below")).expect("made");
        fs::write(path("below/kept"), vec![7; 100_000]).expect("written");
        fs::write(path("removed"), vec![7; 50_000]).expect("written");
        let before = Files::under(dir.path());
        assert!(before.allocated_bytes() >= 150_000);
        assert_eq!(Files::under(dir.path()).changed_since(&before), Change::default());
        fs::remove_file(path("removed")).expect("removed");
        fs::write(path("new"), vec![7; 200_000]).expect("written");
        let change = Files::under(dir.path()).changed_since(&before);
        assert!((250_000..300_000).contains(&change.bytes), "{change:?}");
        assert_eq!(Files::under(&path("not there")).allocated_bytes(), 0);
    }

    #[test]
    fn a_large_file_that_is_written_in_place_has_changed_and_a_small_one_has_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        for (name, len) in [("large", 2 << 20), ("small", 4096)] {
            fs::write(dir.path().join(name), vec![7; len]).expect("written");
            set_written_at(&dir.path().join(name), hour_ago);
        }
        let before = Files::under(dir.path());
        for name in ["large", "small"] {
            let path = dir.path().join(name);
            let file = OpenOptions::new().write(true).open(path).expect("it is there");
            file.write_all_at(b"new", 0).expect("written");
        }
        let change = Files::under(dir.path()).changed_since(&before);
        assert_eq!(change, Change { bytes: 0, rewritten: 1 });
    }
}
