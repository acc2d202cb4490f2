//! Decodes frames from the receive buffer, part by part as they arrive.

use bytes::{Bytes, BytesMut};
use crc32c::crc32c;
use raft_core::types::ClusterId;
use raft_node::Envelope;

use super::header::Header;
use super::prefix::{Prefix, is_intact};
use super::{PREFIX_BYTES, WireError};

/// The content of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A sign of life from a member of this cluster.
    KeepAlive(ClusterId),
    /// An envelope.
    Envelope(Envelope),
}

/// Reads the frames of one connection. It must not be used after an error.
#[derive(Debug)]
pub struct FrameReader {
    /// The version that both sides agreed on.
    version: u8,
    /// A frame whose prefix and header are decoded and checked, but whose body has not all arrived.
    open: Option<(Prefix, Header)>,
}

impl FrameReader {
    /// At the beginning of a frame, on a connection of this version.
    pub fn new(version: u8) -> FrameReader {
        FrameReader { version, open: None }
    }

    /// The next frame, if all of it is in the buffer; its bytes are removed from the buffer.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        if self.open.is_none() {
            self.open = take_header(buffer, self.version)?;
        }
        let Some((prefix, header)) = self.open.take() else { return Ok(None) };
        if buffer.len() < prefix.body_bytes {
            self.open = Some((prefix, header));
            return Ok(None);
        }
        let body = buffer.split_to(prefix.body_bytes).freeze();
        finish(prefix, header, body).map(Some)
    }

    /// How many more bytes the present frame needs, as far as is known. Never more than the limit
    /// for one part of a frame, whatever length the peer states.
    pub fn missing(&self, buffer: &BytesMut) -> usize {
        let known = match &self.open {
            Some((prefix, _)) => prefix.body_bytes,
            None => self.known_part(buffer).map_or(PREFIX_BYTES, |p| PREFIX_BYTES + p.header_bytes),
        };
        known.saturating_sub(buffer.len())
    }

    fn known_part(&self, buffer: &BytesMut) -> Option<Prefix> {
        Prefix::decode(buffer.first_chunk()?, self.version).ok()
    }
}

/// Removes prefix and header from the buffer once both have arrived completely.
fn take_header(buffer: &mut BytesMut, version: u8) -> Result<Option<(Prefix, Header)>, WireError> {
    let Some(bytes) = buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let prefix = Prefix::decode(bytes, version)?;
    let Some(header) = buffer[PREFIX_BYTES..].get(..prefix.header_bytes) else { return Ok(None) };
    if !is_intact(bytes, header) {
        return Err(WireError::HeaderChecksum);
    }
    let parsed = match postcard::take_from_bytes::<Header>(header) {
        Ok((parsed, [])) if parsed.since() <= version => parsed,
        _ => return Err(WireError::Malformed),
    };
    let _ = buffer.split_to(PREFIX_BYTES + prefix.header_bytes);
    Ok(Some((prefix, parsed)))
}

fn finish(prefix: Prefix, header: Header, body: Bytes) -> Result<Frame, WireError> {
    if crc32c(&body) != prefix.body_checksum {
        return Err(WireError::BodyChecksum);
    }
    Ok(match header.into_content(body)? {
        Some(content) => Frame::Envelope(Envelope { cluster: prefix.cluster, content }),
        None => Frame::KeepAlive(prefix.cluster),
    })
}
