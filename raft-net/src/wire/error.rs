//! Why bytes are not a frame, and why an envelope cannot become one.

use raft_core::types::SpanError;
use thiserror::Error;

/// Why a peer's bytes were refused. Their connection cannot be used any more, because it is unknown
/// where the next frame begins.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes are not the beginning of a frame.
    #[error("not a frame: it does not begin with the magic bytes")]
    Magic,
    /// The frame has a version that was not agreed on.
    #[error("a frame of version {0}, which this member does not speak")]
    Version(u8),
    /// The header would be longer than [`super::MAX_HEADER_BYTES`].
    #[error("a header of {0} bytes is over the limit")]
    HeaderTooLong(u64),
    /// The body would be longer than [`super::MAX_BODY_BYTES`].
    #[error("a body of {0} bytes is over the limit")]
    BodyTooLong(u64),
    /// The prefix or the header was changed in transit.
    #[error("the checksum of the header is wrong")]
    HeaderChecksum,
    /// A payload was changed in transit.
    #[error("the checksum of the payloads is wrong")]
    BodyChecksum,
    /// The header does not parse, or has extra bytes.
    #[error("the header does not parse")]
    Malformed,
    /// An entry of a kind that this version does not know.
    #[error("an entry of the unknown kind {0}")]
    Kind(u8),
    /// More than [`super::MAX_ENTRIES`].
    #[error("{0} entries in one frame are over the limit")]
    TooManyEntries(u64),
    /// The runs of terms do not form a span.
    #[error("the entries' ids do not form a span: {0}")]
    Span(#[from] SpanError),
    /// The span has another length than the list of entries.
    #[error("the span names {span} entries, and {listed} are listed")]
    EntryCount {
        /// The entries that the span names.
        span: u64,
        /// The entries that are listed.
        listed: u64,
    },
    /// The payloads' lengths do not add up to the body's.
    #[error("the payloads' lengths do not add up to the body's")]
    Lengths,
    /// A term or an index is not below [`super::NUMBER_LIMIT`].
    #[error("a term or an index of {0} is over the limit")]
    Number(u64),
}

/// Why an envelope was not sent. Unless the peer speaks an older version, only a bug in this member
/// or a limit that is set too high causes this.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unsendable {
    /// The entries are not exactly those that the message's span names.
    #[error("the entries of an append do not match its span")]
    NotTheSpan,
    /// More than [`super::MAX_ENTRIES`].
    #[error("{0} entries are more than one frame may have")]
    TooManyEntries(usize),
    /// The header would be longer than [`super::MAX_HEADER_BYTES`].
    #[error("a header of {0} bytes is over the limit of one frame")]
    HeaderTooLong(usize),
    /// The peer speaks an older version, which has no such message.
    #[error("{what} needs version {needed} of the wire format, and the peer speaks {agreed}")]
    Version {
        /// The message.
        what: &'static str,
        /// The first version that has it.
        needed: u8,
        /// The version that both sides agreed on.
        agreed: u8,
    },
    /// The payloads are together longer than [`super::MAX_BODY_BYTES`].
    #[error("{0} bytes of payload are over the limit of one frame")]
    BodyTooLong(usize),
}
