//! A directory that one process owns and that outlives a power cut: what every log in files, and
//! the member around it, needs of the operating system before its own format begins.
//!
//! [`make`] makes the directory so that a power cut leaves it. [`Lock`] keeps a second opener out,
//! in this process or another, by `flock` on a file in the directory; the operating system lets go
//! of it when the process ends, however it ends.
//!
//! Absent: what is in the directory. Each format names, writes and syncs its own files.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

/// A file that is locked while this lives.
///
/// Dropping it unlocks by a call. Closing the file would not always do: a child that some other
/// thread begins holds a copy of every open file from `fork` until its program starts, and the lock
/// goes with the *last* copy. The owner would find its own directory in use.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Locks a file for one owner; it is made if it is not there.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) while another owner or reader has it; it may be
    /// free later. Else what the operating system says. Nothing was locked; the file may be there.
    pub fn own(path: &Path) -> io::Result<Lock> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(refusal)?;
        Ok(Lock(file))
    }

    /// Locks a file that is there together with other readers, against an owner; `None` if it is
    /// not there, for a reader makes nothing.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) while an owner has it; it may be free later. Else
    /// what the operating system says. Nothing was locked.
    pub fn share(path: &Path) -> io::Result<Option<Lock>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        file.try_lock_shared().map_err(refusal)?;
        Ok(Some(Lock(file)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Where this fails, the close that follows is what is left to do.
        let _ = self.0.unlock();
    }
}

fn refusal(error: TryLockError) -> io::Error {
    match error {
        TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        TryLockError::Error(error) => error,
    }
}

/// Makes a directory if it is not there, each missing part of the way to it durable: who makes
/// names in it then need sync no more than the directory itself.
///
/// # Errors
/// What the operating system says; a part of the way may have been made. It may be tried again.
pub fn make(dir: &Path) -> io::Result<()> {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if dir.is_dir() {
        // Who made it may have ended before it was durable. A directory that may not be read is
        // not that of who makes names in it.
        return File::open(parent).map_or(Ok(()), |parent| parent.sync_all());
    }
    make(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken<T>(lock: io::Result<T>) -> bool {
        lock.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    #[test]
    fn one_owner_or_many_readers() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("lock");
        assert!(Lock::share(&file).expect("looks").is_none());
        assert!(!file.exists(), "a reader makes nothing");
        let owner = Lock::own(&file).expect("free");
        assert!(is_taken(Lock::own(&file)) && is_taken(Lock::share(&file)));
        drop(owner);
        let readers = [Lock::share(&file), Lock::share(&file)].map(|lock| lock.expect("shared"));
        assert!(readers.iter().all(Option::is_some));
        assert!(is_taken(Lock::own(&file)));
        drop(readers);
        Lock::own(&file).expect("free again");
    }

    /// What a child holds that has not come to its program is a copy of this kind.
    #[test]
    fn a_lock_goes_though_a_copy_of_its_file_stays_open() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("lock");
        let owner = Lock::own(&file).expect("free");
        let copy = owner.0.try_clone().expect("copied");
        drop(owner);
        let reader = Lock::share(&file).expect("free again");
        let copies = (copy, reader.as_ref().expect("there").0.try_clone().expect("copied"));
        drop(reader);
        Lock::own(&file).expect("free again");
        drop(copies);
    }

    #[test]
    fn a_lock_that_cannot_be_is_told_from_one_that_is_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        let nowhere = dir.path().join("no/lock");
        let error = Lock::own(&nowhere).expect_err("no directory");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(Lock::share(&nowhere).expect("looks").is_none());
        assert!(Lock::own(dir.path()).is_err(), "a directory");
    }

    #[test]
    fn a_directory_is_made_with_the_way_to_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let deep = dir.path().join("a/b/c");
        make(&deep).expect("made");
        make(&deep).expect("there");
        assert!(deep.is_dir());
        fs::write(deep.join("file"), "").expect("written");
        assert!(make(&deep.join("file/d")).is_err(), "below a file");
    }
}
