//! The messages between the owner of disks and the process that serves them: a length, then a
//! request or an answer in postcard's encoding. Both ends are of one build, so there is no version.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::fault::{Fault, Operation};

/// The number of a disk within its serving process.
pub(crate) type DiskId = u64;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// A new disk: its durable state, and the changes since.
    Mount {
        base: Vec<Change>,
        changes: Vec<Change>,
    },
    Unmount(DiskId),
    Mark(DiskId, u64),
    /// How many changes there are.
    Length(DiskId),
    /// The changes from this one on.
    Since(DiskId, u64),
    /// A fault, and the part of a name that its operations must have.
    Inject(DiskId, Fault, Option<String>),
    ClearFaults(DiskId),
    Failures(DiskId),
    Count(DiskId, Operation),
    /// Holds syncs from now on: the part of a name that they must have, and how many pass first.
    Hold(DiskId, Option<String>, u64),
    /// How many syncs are held.
    Held(DiskId),
    Release(DiskId),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Mounted(DiskId, PathBuf),
    Number(u64),
    Changes(Vec<Change>),
    Failed(String),
}

pub(crate) fn send<T: Serialize>(stream: &mut impl Write, message: &T) -> io::Result<()> {
    let body = postcard::to_extend(message, vec![0; 8]).map_err(io::Error::other)?;
    let mut frame = body;
    let length = frame.len() as u64 - 8;
    frame[..8].copy_from_slice(&length.to_le_bytes());
    stream.write_all(&frame)
}

/// The next message; `None` if the other end has closed the connection.
pub(crate) fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 8];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut body = vec![0; u64::from_le_bytes(length) as usize];
    stream.read_exact(&mut body)?;
    postcard::from_bytes(&body).map(Some).map_err(io::Error::other)
}
