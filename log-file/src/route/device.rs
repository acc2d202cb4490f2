//! The properties that the device below a directory reports in `/sys/dev/block`.
//!
//! Absent: file systems over several devices (Btrfs, overlays, network file systems), which have no
//! device number of a disk. Nothing is reported for them here, and they are measured instead.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// Whether a write that is its own sync ends with a separate flush of the device's cache: the cache
/// is volatile, and the device has no forced unit access. `None` if the device does not report it.
pub(super) fn flushes_separately(dir: &Path) -> Option<bool> {
    cache_is_flushed_separately(&queue_of(dir)?)
}

fn cache_is_flushed_separately(queue: &Path) -> Option<bool> {
    let value_of = |name: &str| fs::read_to_string(queue.join(name)).ok();
    let is_volatile = value_of("write_cache")?.trim() == "write back";
    let has_forced_access = value_of("fua")?.trim() == "1";
    Some(is_volatile && !has_forced_access)
}

/// The request queue of the device; for a partition, that of its disk.
fn queue_of(dir: &Path) -> Option<PathBuf> {
    let device = fs::metadata(dir).ok()?.dev();
    let numbers = format!("{}:{}", major(device), minor(device));
    let node = fs::canonicalize(Path::new("/sys/dev/block").join(numbers)).ok()?;
    let own = node.join("queue");
    let queue = if own.is_dir() { own } else { node.parent()?.join("queue") };
    queue.is_dir().then_some(queue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volatile_cache_without_forced_access_is_flushed_separately() {
        let queue = tempfile::tempdir().expect("a directory");
        assert_eq!(cache_is_flushed_separately(queue.path()), None, "the device reports nothing");
        let cases =
            [("write back", "0", true), ("write back", "1", false), ("write through", "0", false)];
        for (cache, fua, is_apart) in cases {
            fs::write(queue.path().join("write_cache"), format!("{cache}\n")).expect("written");
            fs::write(queue.path().join("fua"), format!("{fua}\n")).expect("written");
            assert_eq!(cache_is_flushed_separately(queue.path()), Some(is_apart), "{cache}, {fua}");
        }
    }
}
