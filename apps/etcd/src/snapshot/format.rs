//! The records of a state, as bytes and back.

use std::io;

use bytes::Bytes;

use super::input::{Input, MAX_FIELD_BYTES, Unrestorable};
use crate::mvcc::{Piece, Revision, Value, Version};

const MAGIC: [u8; 8] = *b"KTKETCDS";

/// The version of the format.
const VERSION: u32 = 1;

/// The kinds of records.
mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const ALARM: u8 = 1;
    pub(super) const KEY: u8 = 2;
    pub(super) const VALUE: u8 = 3;
    pub(super) const TOMBSTONE: u8 = 4;
}

/// How many records of each kind there are. Tombstones count as versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) alarms: u64,
    pub(super) keys: u64,
    pub(super) versions: u64,
}

/// What the head says.
pub(super) struct Head {
    pub(super) revision: i64,
    pub(super) compacted: i64,
}

/// A record.
pub(super) enum Record {
    Alarm((u64, i32)),
    Key(Bytes),
    /// A version of the key before it.
    Version(Version),
    End(Counts),
}

// ---- writing ----

pub(super) fn put_head(to: &mut Vec<u8>, revision: i64, compacted: i64) {
    to.extend(MAGIC);
    to.extend(VERSION.to_le_bytes());
    to.extend(revision.to_le_bytes());
    to.extend(compacted.to_le_bytes());
}

pub(super) fn put_alarm(to: &mut Vec<u8>, (member, alarm): (u64, i32), counts: &mut Counts) {
    counts.alarms += 1;
    to.push(kind::ALARM);
    to.extend(member.to_le_bytes());
    to.extend(alarm.to_le_bytes());
}

/// # Errors
///
/// If a key or a value is longer than a reader accepts.
pub(super) fn put_piece(to: &mut Vec<u8>, piece: Piece<'_>, counts: &mut Counts) -> io::Result<()> {
    match piece {
        Piece::Key(key) => {
            counts.keys += 1;
            to.push(kind::KEY);
            put_field(to, key)
        }
        Piece::Version(version) => {
            counts.versions += 1;
            put_version(to, version)
        }
    }
}

fn put_version(to: &mut Vec<u8>, version: &Version) -> io::Result<()> {
    to.push(if version.value.is_some() { kind::VALUE } else { kind::TOMBSTONE });
    to.extend(version.revision.main.to_le_bytes());
    to.extend(version.revision.sub.to_le_bytes());
    let Some(value) = &version.value else { return Ok(()) };
    to.extend(value.created.to_le_bytes());
    to.extend(value.version.to_le_bytes());
    to.extend(value.lease.to_le_bytes());
    put_field(to, &value.bytes)
}

fn put_field(to: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() > MAX_FIELD_BYTES {
        let text = format!("a key or a value has {} bytes, and may have at most", bytes.len());
        return Err(io::Error::other(format!("{text} {MAX_FIELD_BYTES}")));
    }
    to.extend((bytes.len() as u32).to_le_bytes());
    to.extend_from_slice(bytes);
    Ok(())
}

pub(super) fn put_end(to: &mut Vec<u8>, counts: Counts) {
    to.push(kind::END);
    to.extend(counts.alarms.to_le_bytes());
    to.extend(counts.keys.to_le_bytes());
    to.extend(counts.versions.to_le_bytes());
}

// ---- reading ----

pub(super) fn read_head(input: &mut Input<'_>) -> Result<Head, Unrestorable> {
    if input.array()? != MAGIC {
        return Err(Unrestorable::Unsound("it does not begin as one"));
    }
    let version = u32::from_le_bytes(input.array()?);
    if version != VERSION {
        return Err(Unrestorable::Newer(format!("has version {version}")));
    }
    Ok(Head { revision: number(input)?, compacted: number(input)? })
}

pub(super) fn read_record(input: &mut Input<'_>) -> Result<Record, Unrestorable> {
    let [kind] = input.array()?;
    match kind {
        kind::ALARM => {
            let member = u64::from_le_bytes(input.array()?);
            Ok(Record::Alarm((member, i32::from_le_bytes(input.array()?))))
        }
        kind::KEY => Ok(Record::Key(input.field()?)),
        kind::VALUE => {
            let revision = read_revision(input)?;
            let (created, version) = (number(input)?, number(input)?);
            let (lease, bytes) = (number(input)?, input.field()?);
            let value = Some(Value { created, version, lease, bytes });
            Ok(Record::Version(Version { revision, value }))
        }
        kind::TOMBSTONE => {
            Ok(Record::Version(Version { revision: read_revision(input)?, value: None }))
        }
        kind::END => {
            let [alarms, keys, versions] = [input.array()?, input.array()?, input.array()?];
            let [alarms, keys, versions] = [alarms, keys, versions].map(u64::from_le_bytes);
            Ok(Record::End(Counts { alarms, keys, versions }))
        }
        kind => Err(Unrestorable::Newer(format!("holds a record of kind {kind}"))),
    }
}

fn read_revision(input: &mut Input<'_>) -> Result<Revision, Unrestorable> {
    Ok(Revision { main: number(input)?, sub: number(input)? })
}

fn number(input: &mut Input<'_>) -> Result<i64, Unrestorable> {
    input.array().map(i64::from_le_bytes)
}
