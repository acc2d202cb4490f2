//! Prints results to the standard output.
//!
//! A reader such as `head` closes the pipe when it has read enough. That is not a failure: the
//! command ends without a message and with status 0. The standard library's printing macros would
//! panic.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Prints text without a line end.
///
/// # Errors
///
/// If the output cannot be written, as on a full disk.
pub fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Prints a line.
///
/// # Errors
///
/// As [`print`].
pub fn print_line(text: &str) -> Result<(), Failure> {
    print_bytes(format!("{text}\n").as_bytes())
}

/// Prints bytes, which need not be text.
///
/// # Errors
///
/// As [`print`].
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::of("the standard output cannot be written", &error))
        }
        _ => Ok(()),
    }
}

/// Prints a result as one line of JSON.
///
/// # Errors
///
/// As [`print`].
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print_line(&serde_json::to_string(value).expect("plain data is JSON"))
}
