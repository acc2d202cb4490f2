//! The bytes of the entries of sessions, as `docs/formats/session.md` specifies them.
//!
//! Both kinds begin with a version and the log time, which the leader sets when it appends the
//! entry. The command of a request is the rest of its payload, so it is never copied.

use bytes::Bytes;
use raft_core::types::{EntryKind, LogIndex};

use super::id::{SessionId, SessionLimits};

const VERSION: u8 = 1;

const OPEN: u8 = 0;
const CLOSE: u8 = 1;

/// The bytes of a request before its command.
pub(crate) const SESSION_HEADER_BYTES: usize = 33;

/// The numbers of requests are below this one, so that sums with them do not overflow.
const NUMBERS_END: u64 = 1 << 62;

/// The length of an entry that opens a session, and of one that closes one.
const OPEN_BYTES: usize = 46;
const CLOSE_BYTES: usize = 18;

/// What a client asks a session for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionRequest {
    /// Open a session.
    Open {
        /// Two numbers that no other request to open a session has: if this one is in the log
        /// twice, one session is opened.
        token: (u64, u64),
        /// The limits of the session.
        limits: SessionLimits,
    },
    /// Close a session: its answers are dropped.
    Close {
        /// The session.
        session: SessionId,
    },
    /// Run a command, once.
    Run {
        /// The session.
        session: SessionId,
        /// The number of the request in its session; at least 1, and below 2^62.
        number: u64,
        /// The client has, or does not want, the answers of all requests with lower numbers.
        /// Below 2^62.
        acknowledged_below: u64,
        /// The command.
        command: Bytes,
    },
}

/// The kind of the entry of a request.
pub(crate) fn kind_of(request: &SessionRequest) -> EntryKind {
    match request {
        SessionRequest::Run { .. } => EntryKind::SessionCommand,
        SessionRequest::Open { .. } | SessionRequest::Close { .. } => EntryKind::SessionControl,
    }
}

/// The payload of a request, at log time 0.
pub(crate) fn encode_request(request: &SessionRequest) -> Bytes {
    let mut bytes = vec![VERSION];
    bytes.extend(0_u64.to_le_bytes());
    match request {
        SessionRequest::Open { token: (start, sequence), limits } => {
            bytes.push(OPEN);
            [*start, *sequence, limits.timeout].iter().for_each(|n| bytes.extend(n.to_le_bytes()));
            let numbers = [limits.window, limits.answer_bytes, limits.sessions];
            numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        }
        SessionRequest::Close { session } => {
            bytes.push(CLOSE);
            bytes.extend(session.0.get().to_le_bytes());
        }
        SessionRequest::Run { session, number, acknowledged_below, command } => {
            bytes.reserve_exact(SESSION_HEADER_BYTES + command.len());
            let numbers = [session.0.get(), *number, *acknowledged_below];
            numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            bytes.extend_from_slice(command);
        }
    }
    bytes.into()
}

/// The request in the payload of an entry of this kind, and its log time; `None` if the bytes are
/// not one that this program reads.
pub(crate) fn decode_request(kind: EntryKind, payload: &Bytes) -> Option<(SessionRequest, u64)> {
    let number = |at: usize| -> Option<u64> {
        let bytes = payload.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let small = |at: usize| -> Option<u32> {
        let bytes = payload.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let session = |at: usize| number(at).map(|index| SessionId(LogIndex::new(index)));
    if payload.first() != Some(&VERSION) {
        return None;
    }
    let time = number(1)?;
    let request = match (kind, payload.get(9)?, payload.len()) {
        (EntryKind::SessionControl, &OPEN, OPEN_BYTES) => {
            let (window, answer_bytes, sessions) = (small(34)?, small(38)?, small(42)?);
            let limits = SessionLimits { timeout: number(26)?, window, answer_bytes, sessions };
            SessionRequest::Open { token: (number(10)?, number(18)?), limits }
        }
        (EntryKind::SessionControl, &CLOSE, CLOSE_BYTES) => {
            SessionRequest::Close { session: session(10)? }
        }
        (EntryKind::SessionCommand, _, SESSION_HEADER_BYTES..) => SessionRequest::Run {
            session: session(9)?,
            number: number(17).filter(|number| *number < NUMBERS_END)?,
            acknowledged_below: number(25).filter(|number| *number < NUMBERS_END)?,
            command: payload.slice(SESSION_HEADER_BYTES..),
        },
        _ => return None,
    };
    Some((request, time))
}

/// The payload with this log time. Copies it only if it is in use elsewhere.
pub(crate) fn with_time(payload: Bytes, time: u64) -> Bytes {
    let mut bytes = payload.try_into_mut().unwrap_or_else(|shared| shared[..].into());
    bytes[1..9].copy_from_slice(&time.to_le_bytes());
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64) -> SessionId {
        SessionId(LogIndex::new(index))
    }

    fn requests() -> Vec<(SessionRequest, Vec<u8>)> {
        let limits = SessionLimits { timeout: 6, window: 7, answer_bytes: 8, sessions: 9 };
        let run = SessionRequest::Run {
            session: id(3),
            number: 2,
            acknowledged_below: 1,
            command: Bytes::from_static(b"abc"),
        };
        let words = |numbers: &[u64]| -> Vec<u8> {
            numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
        };
        vec![
            (
                SessionRequest::Open { token: (4, 5), limits },
                [&[1], &words(&[300])[..], &[0], &words(&[4, 5, 6]), &[7, 0, 0, 0], &[8, 0, 0, 0]]
                    .concat()
                    .into_iter()
                    .chain([9, 0, 0, 0])
                    .collect(),
            ),
            (
                SessionRequest::Close { session: id(3) },
                [&[1], &words(&[300])[..], &[1], &words(&[3])].concat(),
            ),
            (run, [&[1], &words(&[300, 3, 2, 1])[..], b"abc"].concat()),
        ]
    }

    #[test]
    fn the_bytes_of_requests_are_frozen() {
        for (request, bytes) in requests() {
            let encoded = with_time(encode_request(&request), 300);
            assert_eq!(encoded, bytes, "{request:?}");
            assert_eq!(decode_request(kind_of(&request), &encoded), Some((request, 300)));
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        for (request, bytes) in requests() {
            let kind = kind_of(&request);
            let decodes = |bytes: Vec<u8>| decode_request(kind, &bytes.into()).is_some();
            let newer = [&[2], &bytes[1..]].concat();
            assert!(!decodes(newer) && !decodes(Vec::new()), "{request:?}");
            assert!(!decodes(bytes[..17].to_vec()), "{request:?}");
            if kind == EntryKind::SessionControl {
                assert!(!decodes([&bytes[..], &[0]].concat()), "{request:?}");
            }
        }
    }

    /// What went wrong: a peer's numbers near the greatest one overflowed sums.
    #[test]
    fn numbers_that_are_too_large_are_refused() {
        let decodes = |number, acknowledged_below| {
            let command = Bytes::new();
            let request =
                SessionRequest::Run { session: id(3), number, acknowledged_below, command };
            decode_request(kind_of(&request), &encode_request(&request)).is_some()
        };
        assert!(decodes((1 << 62) - 1, (1 << 62) - 1));
        assert!(!decodes(1 << 62, 1) && !decodes(1, 1 << 62) && !decodes(u64::MAX, u64::MAX));
    }

    #[test]
    fn a_payload_that_is_in_use_is_copied() {
        let payload = encode_request(&SessionRequest::Close { session: id(3) });
        let other = payload.clone();
        assert_ne!(with_time(payload, 7), other);
    }
}
