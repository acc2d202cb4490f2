//! The codec: envelopes to bytes and back, as `docs/formats/wire.md` specifies them.
//!
//! A frame is a fixed prefix, a header in postcard's format, and a body of payload bytes that is
//! never copied: [`encode`] makes a list of chunks for a vectored write, and [`FrameReader`]
//! returns payloads that are slices of the receive buffer. So a payload that is kept also keeps its
//! whole receive block in memory; a receiver that keeps a few bytes for long copies them.
//!
//! The header's types belong to this crate (`header`), so that the protocol's own types and the
//! wire format can change independently. A connection uses the version that both sides agreed on:
//! an envelope that this version cannot carry is not sent. Bytes of a peer never cause a panic, nor
//! an allocation beyond the limits below: they are refused with a [`WireError`].
//!
//! Absent: the first bytes of a connection, which belong to the handshake.

mod decode;
mod encode;
mod error;
mod header;
mod prefix;

pub use decode::{Frame, FrameReader};
pub use encode::{Chunks, encode, keep_alive};
pub use error::{Unsendable, WireError};
pub use prefix::PREFIX_BYTES;

/// The lowest version of frames that this code speaks.
pub const LOWEST_VERSION: u8 = 1;

/// The highest version of frames that this code speaks. Version 2 adds leadership transfer,
/// version 3 the transfer of snapshots, version 4 feature levels, version 5 leases.
pub const HIGHEST_VERSION: u8 = 5;

/// The most bytes of a header. A header of [`MAX_ENTRIES`] entries in a few terms has about half of
/// that.
pub const MAX_HEADER_BYTES: usize = 1 << 20;

/// The most payload bytes of one frame.
pub const MAX_BODY_BYTES: usize = 64 << 20;

/// The most entries, or forwarded commands, of one frame.
pub const MAX_ENTRIES: usize = 1 << 16;

// What this program announces to a peer is what it speaks.
const _: () = assert!(HIGHEST_VERSION as u16 == raft_node::PROTOCOL_VERSION);

// An envelope within a member's limits fits into a frame.
const _: () = assert!(MAX_BODY_BYTES as u64 >= raft_node::pump::MAX_ENVELOPE_BYTES);
const _: () = assert!(MAX_ENTRIES >= raft_node::pump::MAX_ENVELOPE_ENTRIES);

/// Terms and indexes from here on are refused, so that no arithmetic on a peer's numbers overflows.
pub const NUMBER_LIMIT: u64 = 1 << 62;
