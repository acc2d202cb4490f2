//! Which errors of SQLite mean that the disk, or this user's share of it, has no space left.
//!
//! SQLite reports a write for which the disk has no space as `SQLITE_FULL`, but a write beyond the
//! user's quota as any other write that failed. Both are refused before the transaction's commit is
//! written. The error number of the operating system, which SQLite keeps for each connection,
//! distinguishes them.
//!
//! Absent: a sync that fails for lack of space, and shared memory that cannot grow. The first
//! leaves the outcome unknown (P15), and the second happens after the transaction's commit was
//! written.

#![allow(unsafe_code)]

use std::io;

use owned_dir::is_no_space;
use rusqlite::{Connection, Error, ErrorCode, ffi};

/// Whether SQLite failed because the disk is full.
pub(crate) fn is_disk_full(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// The result of the last call on this connection. If the call wrote beyond the user's quota, it is
/// the error for a full disk.
pub(crate) fn counting_quotas<T>(
    database: &Connection,
    result: rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    result.map_err(|error| {
        let code = error.sqlite_error().map(|error| error.extended_code);
        let cause = system_error(database);
        if code == Some(ffi::SQLITE_IOERR_WRITE) && is_no_space(&cause) {
            Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), Some(cause.to_string()))
        } else {
            error
        }
    })
}

/// The latest error of the operating system that SQLite met on this connection.
fn system_error(database: &Connection) -> io::Error {
    // SAFETY: the connection is open while it is borrowed, and the call only reads a number in it,
    // under SQLite's own lock.
    let number = unsafe { ffi::sqlite3_system_errno(database.handle()) };
    io::Error::from_raw_os_error(number)
}
