//! The wire codec and the TCP transport of Kontiki.
//!
//! [`wire`] turns envelopes into frames and back. [`TcpTransport`] carries them. Either side may
//! dial a connection, which then serves both directions until it breaks. Each peer has one bounded
//! queue; envelopes beyond its limit are dropped and counted, which Raft tolerates. Before the
//! first frame each side says which node it is and which node it wants to reach. A member of
//! another cluster, a node other than the wanted one, and a node that lost its store are refused
//! with the reason.
//!
//! Bytes from the port cost bounded time and memory, even garbage, oversized frames and handshakes
//! that never end. They are refused, counted ([`Counters`]) and logged once, and the member
//! continues.
//!
//! Absent: encryption. The checksums of frames detect accidents, not attacks, so members need a
//! trusted network. TLS will be added between this crate and the socket.

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
    ENVELOPE_OVERHEAD_BYTES, FAREWELL_LIMIT, MAX_HANDSHAKES, MAX_LINKS_PER_PEER, MAX_PEERS,
    MAX_QUEUED_BYTES, MAX_QUEUED_ENVELOPES, MAX_UNKNOWN_PEERS, MAX_WRITE_BYTES, READ_BLOCK_BYTES,
    TcpOptions,
};
pub use tcp::{BindError, TcpTransport};
