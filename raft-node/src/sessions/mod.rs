//! Client sessions: replicated state of the engine with which each request runs at most once, and
//! with which a request that is made again gets the first answer.
//!
//! A session is opened by an entry. Each request in it has a number, and is an entry as well, with
//! the session, the number, and the number below which the client has all answers. The table keeps
//! the answers from there on, so a request that is in the log twice runs once, and both copies have
//! one answer. Every member makes the same decisions from the same entries: the limits of a session
//! are in the entry that opens it, and time is what leaders write into entries.
//!
//! | file | what is in it |
//! |---|---|
//! | `id`, `error` | names, limits, answers, and why there is none |
//! | `encoding` | the bytes of the entries |
//! | `table` | what each entry does, and which answers are kept |
//! | `table_bytes` | the table in a snapshot |
//!
//! This is rule K34.
//!
//! Deliberately absent: clients that wait, which are the pump's; and how they number requests,
//! which the session's handle does.

mod encoding;
mod error;
mod id;
mod table;
mod table_bytes;

pub use self::encoding::SessionRequest;
pub(crate) use self::encoding::{
    SESSION_HEADER_BYTES, decode_request, encode_request, kind_of, with_time,
};
pub use self::error::SessionError;
pub use self::id::{SessionAnswer, SessionId, SessionLimits};
pub(crate) use self::table::Decision;
pub use self::table::SessionTable;
pub(crate) use self::table_bytes::MAX_TABLE_BYTES;
