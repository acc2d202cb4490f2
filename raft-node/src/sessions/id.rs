//! The name of a session, and its limits.

use std::fmt;

use bytes::Bytes;
use raft_core::types::LogIndex;
use serde::{Deserialize, Serialize};

/// What the table needs for a session, and for each number of its window.
const SESSION_OVERHEAD: u64 = 256;
const NUMBER_OVERHEAD: u64 = 32;

/// The name of a session: the index of the entry that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub LogIndex);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The limits of one session, which the entry that opens it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLimits {
    /// After how many ticks of log time without a request the session expires.
    pub timeout: u64,
    /// A request runs only if its number is less than this above the number below which all answers
    /// are acknowledged.
    pub window: u32,
    /// The most bytes of answers that are kept; the answers with the lowest numbers go first.
    pub answer_bytes: u32,
    /// The session is opened only if fewer than so many others are open.
    pub sessions: u32,
}

impl SessionLimits {
    /// The bytes that the session may take in the table.
    pub(super) fn reserved(&self) -> u64 {
        let numbers = u64::from(self.window).saturating_mul(NUMBER_OVERHEAD);
        SESSION_OVERHEAD + u64::from(self.answer_bytes) + numbers
    }
}

/// The answer to a request of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionAnswer {
    /// The session is open.
    Opened {
        /// Its name.
        session: SessionId,
        /// Its window, in requests.
        window: u32,
    },
    /// The command ran once, now or before: the state machine's answer.
    Ran(Bytes),
    /// The session is closed, or was not open.
    Closed,
}
