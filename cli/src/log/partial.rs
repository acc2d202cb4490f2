//! A directory that appears complete or not at all.
//!
//! It is built under another name beside its target, `NAME.partial/copy`, everything in it is
//! synced, and one rename moves it to the target. A copy that was killed leaves `NAME.partial`,
//! which the next copy to the same target removes; a lock in it shows whether a copy still runs.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use owned_dir::Lock;

use crate::failure::Failure;

const LOCK: &str = "lock";
const COPY: &str = "copy";

/// A directory under construction. It is removed if it is dropped before it is finished.
pub struct Partial {
    target: PathBuf,
    dir: PathBuf,
    is_finished: bool,
    _lock: Lock,
}

impl Partial {
    /// Starts a directory that will be renamed to `target`, which must be missing or empty.
    pub fn begin(target: &Path) -> Result<Partial, Failure> {
        check_free(target)?;
        let parent = parent_of(target);
        let failed = |path: &Path, error: io::Error| {
            Failure::of(format!("{} cannot be created", path.display()), &error)
                .advise("check the directory: its permissions, the space of its disk")
        };
        owned_dir::make(&parent).map_err(|error| failed(&parent, error))?;
        let mut name = OsString::from(target.file_name().unwrap_or_default());
        name.push(".partial");
        let dir = parent.join(name);
        fs::create_dir_all(&dir).map_err(|error| failed(&dir, error))?;
        let lock = take_lock(&dir)?;
        check_ours(&dir)?;
        let copy = dir.join(COPY);
        if copy.exists() {
            fs::remove_dir_all(&copy).map_err(|error| failed(&copy, error))?;
        }
        fs::create_dir(&copy).map_err(|error| failed(&copy, error))?;
        Ok(Partial { target: target.to_owned(), dir, is_finished: false, _lock: lock })
    }

    /// The directory to build in.
    pub fn path(&self) -> PathBuf {
        self.dir.join(COPY)
    }

    /// Renames the directory to its target; it is durable when this returns `Ok`.
    pub fn finish(mut self) -> Result<(), Failure> {
        let finish = || {
            sync_tree(&self.path())?;
            fs::rename(self.path(), &self.target)?;
            sync_dir(&parent_of(&self.target))
        };
        finish().map_err(|error| {
            Failure::of(
                format!("{} cannot be renamed to its target", self.target.display()),
                &error,
            )
            .advise("check the directory: its permissions, the space of its disk")
        })?;
        self.is_finished = true;
        self.remove();
        Ok(())
    }

    /// A file that cannot be removed is left: the next copy to the same target tries again.
    fn remove(&self) {
        if !self.is_finished {
            let _ = fs::remove_dir_all(self.path());
        }
        let _ = fs::remove_file(self.dir.join(LOCK));
        let _ = fs::remove_dir(&self.dir);
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_finished {
            self.remove();
        }
    }
}

/// Refuses a target that exists and is not an empty directory.
pub fn check_free(target: &Path) -> Result<(), Failure> {
    let refused = |what: &str| {
        Err(Failure::new(format!("{} {what}", target.display()))
            .advise("the target must not exist yet: choose another directory"))
    };
    if target.file_name().is_none() {
        return refused("is not a name for a new directory");
    }
    match fs::read_dir(target).map(|entries| entries.count()) {
        Ok(0) => Ok(()),
        Ok(_) => refused("is not empty"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => refused("is a file"),
        Err(error) => Err(Failure::of(format!("{} cannot be read", target.display()), &error)),
    }
}

/// Refuses a directory with other files than those that a killed copy leaves.
fn check_ours(dir: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::of(format!("{} cannot be read", dir.display()), &error);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != LOCK && name != COPY {
            let text =
                format!("{} holds files that are not from an interrupted copy", dir.display());
            return Err(Failure::new(text)
                .advise("`kontiki log copy` builds its copies there: move it away"));
        }
    }
    Ok(())
}

fn take_lock(dir: &Path) -> Result<Lock, Failure> {
    let path = dir.join(LOCK);
    Lock::own(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            Failure::new(format!("another copy is in progress in {}", dir.display()))
                .advise("wait for it, or choose another directory")
        }
        _ => Failure::of(format!("{} cannot be locked", path.display()), &error),
    })
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Syncs all files of a directory, and the directory itself.
fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { sync_tree(&path)? } else { File::open(&path)?.sync_all()? }
    }
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir)
            .expect("lists")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_directory_appears_complete_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("deep/new");
        let partial = Partial::begin(&target).expect("free");
        fs::write(partial.path().join("a"), "a").expect("writes");
        assert!(!target.exists());
        assert!(Partial::begin(&target).is_err_and(|it| it.to_string().contains("in progress")));
        drop(partial);
        assert_eq!(names(&dir.path().join("deep")), [""; 0], "dropping it leaves no file");

        let partial = Partial::begin(&target).expect("free");
        fs::write(partial.path().join("a"), "a").expect("writes");
        partial.finish().expect("in place");
        assert_eq!(names(&dir.path().join("deep")), ["new"]);
        assert_eq!(names(&target), ["a"]);
        assert!(Partial::begin(&target).is_err_and(|it| it.to_string().contains("not empty")));
    }

    #[test]
    fn only_the_files_of_a_killed_copy_are_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (target, left) = (dir.path().join("new"), dir.path().join("new.partial"));
        fs::create_dir_all(left.join("copy/log")).expect("made");
        fs::write(left.join("lock"), "").expect("made");
        Partial::begin(&target).expect("the lock is free").finish().expect("in place");
        assert_eq!(names(dir.path()), ["new"]);
        assert_eq!(names(&target), [""; 0], "the files of the killed copy are removed");

        fs::create_dir_all(&left).expect("made");
        fs::write(left.join("letter.txt"), "dear reader").expect("made");
        Partial::begin(&target).err().expect("files that are not a copy's");
        assert!(left.join("letter.txt").exists());
    }
}
