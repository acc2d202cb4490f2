//! The limits of a server. Each has a name; requests beyond it are refused or wait.

use std::time::Duration;

/// The limits of one member's client port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// How many clients may be connected. Further ones wait in the listener's queue until one
    /// disconnects.
    pub connections: usize,
    /// How many requests one connection may have in progress; HTTP/2 makes the client wait.
    pub streams: u32,
    /// How many requests all connections together may have in progress, answers that are not sent
    /// yet included. Further ones are refused with "too many requests".
    pub requests: usize,
    /// How many bytes of incomplete requests may be held; each piece in which a request arrives
    /// counts 128 bytes more. Requests beyond this are refused with "too many requests".
    pub request_bytes: usize,
    /// How long a whole request may take to arrive, and so may the first bytes of a connection.
    pub request_time: Duration,
    /// How many bytes of large answers may wait to be sent; at least twice
    /// [`crate::range::MAX_ANSWER_BYTES`].
    pub answer_bytes: usize,
    /// How long a client may leave its answers unread before its connection is closed.
    pub answer_time: Duration,
    /// How large the key space may grow, its history included, before the alarm NOSPACE is raised;
    /// in bytes, as `dbSize` in a member's status counts them. etcd's default.
    pub quota_bytes: u64,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            connections: 10_000,
            streams: 1024,
            requests: 16_384,
            request_bytes: 64 * 1024 * 1024,
            request_time: Duration::from_secs(10),
            answer_bytes: 512 * 1024 * 1024,
            answer_time: Duration::from_secs(30),
            quota_bytes: 2 * 1024 * 1024 * 1024,
        }
    }
}
