//! The wire codec and the TCP transport of Kontiki.
//!
//! [`wire`] turns envelopes into frames and back. [`TcpTransport`] carries them: a connection lives
//! as long as both sides do, may be dialed by either, and serves both ways; each peer has one
//! bounded queue, and what exceeds it is dropped and counted, which Raft tolerates. Before the
//! first frame each side says which node it is and which node it means; a member of another
//! cluster, another node than the one meant, or one that lost its store is refused with the reason.
//!
//! Whatever reaches the port costs bounded time and memory: garbage, oversized frames, handshakes
//! that never end. It is refused and counted ([`Counters`]), logged once, and the member goes on.
//!
//! Absent: encryption. Frames carry checksums against accidents and none against an attacker, so
//! members talk over a network that is trusted; TLS will stand between this and the socket.

mod acceptor;
mod connection;
mod counters;
mod dialer;
mod handshake;
mod options;
mod peer;
mod queue;
mod shared;
mod tcp;
pub mod wire;

pub use counters::{Counted, Counters};
pub use handshake::{
    HELLO_BYTES, HandshakeError, Hello, MAX_HANDSHAKE_BYTES, MAX_REASON_BYTES, Refusal,
};
pub use options::{
    ENVELOPE_OVERHEAD_BYTES, MAX_HANDSHAKES, MAX_LINKS_PER_PEER, MAX_PEERS, MAX_QUEUED_BYTES,
    MAX_QUEUED_ENVELOPES, MAX_UNKNOWN_PEERS, MAX_WRITE_BYTES, READ_BLOCK_BYTES, TcpOptions,
};
pub use tcp::{BindError, TcpTransport};
