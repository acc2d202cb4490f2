//! A lock on a directory: `flock` on a file in it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// A locked file; dropping this value releases the lock.
///
/// Dropping it unlocks the file explicitly. Closing the file would not always unlock it: a child
/// process that another thread starts holds a copy of every open file from `fork` until its program
/// starts, and the lock is released with the *last* copy. The owner would then find its own
/// directory in use.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Locks a file for one owner; the file is created if it is missing.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) while another owner or reader has the lock; it may
    /// be free later. Otherwise the operating system's error. The file may have been created, but
    /// is not locked.
    pub fn own(path: &Path) -> io::Result<Lock> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(refusal)?;
        Ok(Lock(file))
    }

    /// Locks an existing file together with other readers, against an owner. `None` if the file is
    /// missing, since a reader creates nothing.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) while an owner has the lock; it may be free later.
    /// Otherwise the operating system's error. The file is not locked.
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
        // If this fails, closing the file still releases the lock in most cases.
        let _ = self.0.unlock();
    }
}

fn refusal(error: TryLockError) -> io::Error {
    match error {
        TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        TryLockError::Error(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken<T>(lock: io::Result<T>) -> bool {
        lock.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    #[test]
    fn a_lock_has_one_owner_or_many_readers() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("lock");
        assert!(Lock::share(&file).expect("looks").is_none());
        assert!(!file.exists(), "a reader creates nothing");
        let owner = Lock::own(&file).expect("free");
        assert!(is_taken(Lock::own(&file)) && is_taken(Lock::share(&file)));
        drop(owner);
        let readers = [Lock::share(&file), Lock::share(&file)].map(|lock| lock.expect("shared"));
        assert!(readers.iter().all(Option::is_some));
        assert!(is_taken(Lock::own(&file)));
        drop(readers);
        Lock::own(&file).expect("free again");
    }

    /// A child process holds such a copy between `fork` and the start of its program.
    #[test]
    fn a_lock_is_released_even_if_a_copy_of_its_file_stays_open() {
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
    fn an_impossible_lock_is_distinguished_from_a_held_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let nowhere = dir.path().join("no/lock");
        let error = Lock::own(&nowhere).expect_err("no directory");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(Lock::share(&nowhere).expect("looks").is_none());
        assert!(Lock::own(dir.path()).is_err(), "a directory");
    }
}
