//! What a server takes on at once: each limit has a name, and what is beyond it is refused or
//! waits.

use std::time::Duration;

/// The limits of one member's client port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// How many clients may be connected. Further ones wait in the listener's queue until one goes.
    pub connections: usize,
    /// How many requests one connection may have under way; HTTP/2 tells the client.
    pub streams: u32,
    /// How many requests all connections together may have under way, answers that are not sent
    /// yet included. Further ones are refused with "too many requests".
    pub requests: usize,
    /// How many bytes of requests that are not complete yet may be held; each piece that a request
    /// comes in counts 128 bytes more. What would go beyond is refused with "too many requests".
    pub request_bytes: usize,
    /// How long the whole of a request may take to arrive, and the first bytes of a connection.
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
