//! Why a request of a session has no answer.

use thiserror::Error;

use super::id::SessionId;

/// Why a request of a session has no answer. Each states whether the command may have run, and
/// whether to try again. Trying again always means the same number: then the command runs at most
/// once, whatever happened before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// No session was opened: as far as this member has applied the log, the cluster has no
    /// sessions yet. Some member runs an older program, no leader has raised the feature level, or
    /// this member has just started. Nothing happened. Try again later, and once all members run
    /// this program.
    #[error(
        "the cluster is at feature level {level}, as far as this member has applied the log; \
         sessions need level {needed}"
    )]
    FeatureLevel {
        /// The level of the cluster, as far as this member has applied the log.
        level: u32,
        /// The level that has sessions.
        needed: u32,
    },
    /// The session has expired, was closed, or never existed. This request did not run, and never
    /// will. If it was sent before, an earlier copy may have run. Open another session.
    #[error("session {0} is not known: it has expired or was closed")]
    UnknownSession(SessionId),
    /// The client has acknowledged the answer to this number. The request was not run again.
    #[error("the answer to request {number} of the session was acknowledged")]
    Acknowledged {
        /// The number of the request.
        number: u64,
    },
    /// The number is beyond the window of the session. The request did not run. Try again once
    /// earlier requests are answered.
    #[error("request {number} is beyond the window of the session")]
    TooFarAhead {
        /// The number of the request.
        number: u64,
    },
    /// The request ran once, and its answer is not kept: it was too large, later answers have taken
    /// its place, or the state machine keeps its state and was started again since.
    #[error("request {number} of the session ran, and its answer is no longer kept")]
    AnswerDropped {
        /// The number of the request.
        number: u64,
    },
    /// Too many sessions are open. Nothing happened. Try again when others have expired or were
    /// closed.
    #[error("too many sessions are open")]
    TooManySessions,
    /// The command is larger than the limit. Nothing happened; trying again does not help.
    #[error("the command has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The command's bytes.
        size: u64,
        /// The most that a command may have.
        limit: u64,
    },
    /// Too many requests wait at this member, or too many clients for the same one. Nothing
    /// happened. Try again later.
    #[error("too many requests of sessions are waiting")]
    Busy,
    /// The deadline passed before the outcome was known: the command may run. Try again, with the
    /// same number.
    #[error("the outcome was not known before the deadline")]
    Unknown,
    /// The member was shut down, or has stopped by itself: the command may run. Try again at
    /// another member, with the same number.
    #[error("this member is closed")]
    Closed,
}
