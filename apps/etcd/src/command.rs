//! The commands in the replicated log; `docs/formats/etcd-command.md` is their specification.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use thiserror::Error;

use crate::api::etcdserverpb::{
    AlarmRequest, CompactionRequest, DeleteRangeRequest, PutRequest, TxnRequest,
};
use crate::errors::Refusal;

/// The version of the encoding, its first byte. Stored commands stay readable, so a change of the
/// encoding gets a new version and the old one stays.
pub const VERSION: u8 = 1;

/// The most bytes that a request which changes something may have, as etcd counts them: 1.5 MiB.
pub const MAX_REQUEST_BYTES: usize = 1536 * 1024;

/// The bytes that etcd counts for a request in addition to its message and the length of that
/// length: the header with the request's id, and the tag.
const COUNTED_OVERHEAD_BYTES: usize = 15;

/// A request that changes something.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Puts one key.
    Put(PutRequest),
    /// Deletes the keys of a span.
    Delete(DeleteRangeRequest),
    /// A transaction.
    Txn(TxnRequest),
    /// Discards the history below a revision.
    Compact(CompactionRequest),
    /// Raises or disarms an alarm.
    Alarm(AlarmRequest),
}

impl Command {
    /// The bytes to propose, unless there are too many.
    pub fn encode(&self) -> Result<Bytes, Refusal> {
        match self {
            Command::Put(request) => encode(1, request),
            Command::Delete(request) => encode(2, request),
            Command::Txn(request) => encode(3, request),
            Command::Compact(request) => encode(4, request),
            Command::Alarm(request) => encode(5, request),
        }
    }

    /// Reads a command. Keys and values stay slices of `bytes`.
    ///
    /// # Errors
    ///
    /// If it has a version or a kind that this program cannot read, or is damaged. A member that
    /// skipped it would differ from the others.
    pub fn decode(bytes: &Bytes) -> Result<Command, Unreadable> {
        let (&[version, kind], _) = bytes.split_first_chunk().ok_or(Unreadable::Damaged)?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let body = bytes.slice(2..);
        let command = match kind {
            1 => PutRequest::decode(body).map(Command::Put),
            2 => DeleteRangeRequest::decode(body).map(Command::Delete),
            3 => TxnRequest::decode(body).map(Command::Txn),
            4 => CompactionRequest::decode(body).map(Command::Compact),
            5 => AlarmRequest::decode(body).map(Command::Alarm),
            _ => return Err(Unreadable::Kind(kind)),
        };
        command.map_err(|_| Unreadable::Damaged)
    }
}

/// Why a command in the log cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// A newer program wrote it.
    #[error(
        "a command has version {0}, and this program, which reads version {VERSION}, is too old"
    )]
    Version(u8),
    /// A newer program wrote it.
    #[error(
        "a command is of kind {0}, and this program, which does not know that kind, is too old"
    )]
    Kind(u8),
    /// The bytes are no command.
    #[error("a command is damaged")]
    Damaged,
}

fn encode(kind: u8, request: &impl Message) -> Result<Bytes, Refusal> {
    let size = request.encoded_len();
    let counted = size + prost::length_delimiter_len(size) + COUNTED_OVERHEAD_BYTES;
    if counted > MAX_REQUEST_BYTES {
        return Err(Refusal::RequestTooLarge);
    }
    let mut bytes = BytesMut::with_capacity(2 + size);
    bytes.put_u8(VERSION);
    bytes.put_u8(kind);
    request.encode_raw(&mut bytes);
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> [Command; 5] {
        let put = PutRequest {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"v"),
            prev_kv: true,
            ..PutRequest::default()
        };
        let delete = DeleteRangeRequest {
            key: Bytes::from_static(b"a"),
            range_end: Bytes::from_static(b"b"),
            prev_kv: false,
        };
        let compact = CompactionRequest { revision: 7, physical: true };
        let alarm = AlarmRequest { action: 1, member_id: 3, alarm: 1 };
        [
            Command::Put(put),
            Command::Delete(delete),
            Command::Txn(TxnRequest::default()),
            Command::Compact(compact),
            Command::Alarm(alarm),
        ]
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let frozen: [&[u8]; 5] = [
            &[1, 1, 0x0a, 1, b'k', 0x12, 1, b'v', 0x20, 1],
            &[1, 2, 0x0a, 1, b'a', 0x12, 1, b'b'],
            &[1, 3],
            &[1, 4, 0x08, 7, 0x10, 1],
            &[1, 5, 0x08, 1, 0x10, 3, 0x18, 1],
        ];
        for (command, frozen) in commands().into_iter().zip(frozen) {
            assert_eq!(command.encode().expect("small"), frozen);
            assert_eq!(Command::decode(&Bytes::from_static(frozen)), Ok(command));
        }
    }

    #[test]
    fn bytes_that_are_no_command_are_refused() {
        let foreign: [(&[u8], Unreadable); 6] = [
            (&[], Unreadable::Damaged),
            (&[1], Unreadable::Damaged),
            (&[2, 1], Unreadable::Version(2)),
            (&[0, 0], Unreadable::Version(0)),
            (&[1, 9], Unreadable::Kind(9)),
            (&[1, 1, 0x0a, 200], Unreadable::Damaged),
        ];
        for (bytes, why) in foreign {
            assert_eq!(Command::decode(&Bytes::from_static(bytes)), Err(why), "{bytes:?}");
        }
    }

    #[test]
    fn a_request_of_more_than_the_limit_is_refused() {
        let with_value = |length| {
            let value = Bytes::from(vec![0; length]);
            Command::Put(PutRequest { key: Bytes::from_static(b"k"), value, ..Default::default() })
        };
        assert!(with_value(MAX_REQUEST_BYTES - 64).encode().is_ok());
        let refused = with_value(MAX_REQUEST_BYTES).encode();
        assert_eq!(refused, Err(Refusal::RequestTooLarge));
    }
}
