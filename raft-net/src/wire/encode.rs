//! Encodes an envelope as a list of chunks: prefix and header in one, then the payloads unchanged.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc32c::crc32c_append;
use raft_core::types::ClusterId;
use raft_node::{Content, Envelope, SnapshotMessage};

use super::header::Header;
use super::prefix::Prefix;
use super::{MAX_BODY_BYTES, MAX_HEADER_BYTES, PREFIX_BYTES, Unsendable};

/// Adds the frame of an envelope, in this version, at the end of `chunks`. On an error nothing was
/// added.
pub fn encode(envelope: &Envelope, version: u8, chunks: &mut Chunks) -> Result<(), Unsendable> {
    let header = Header::of(&envelope.content, version)?;
    push_frame(envelope.cluster, version, &header, payloads(&envelope.content), chunks)
}

/// Adds a keep-alive, which says only that its sender is alive.
pub fn keep_alive(cluster: ClusterId, version: u8, chunks: &mut Chunks) {
    let pushed = push_frame(cluster, version, &Header::KeepAlive, std::iter::empty(), chunks);
    assert!(pushed.is_ok(), "a keep-alive has one length");
}

/// The payloads, in the order in which the header lists them.
fn payloads(content: &Content) -> impl Iterator<Item = &Bytes> + Clone {
    let none = [].as_slice();
    let (entries, others, requests) = match content {
        Content::Raft { entries, .. } => (&entries[..], none, [].as_slice()),
        Content::Forward(forward) => ([].as_slice(), forward.commands.as_slice(), [].as_slice()),
        Content::SessionForward(requests) => ([].as_slice(), none, requests.as_slice()),
        Content::Snapshot(SnapshotMessage::Chunk { bytes, .. }) => {
            ([].as_slice(), std::slice::from_ref(bytes), [].as_slice())
        }
        Content::ForwardAnswer(_) | Content::Snapshot(_) => ([].as_slice(), none, [].as_slice()),
    };
    let requests = requests.iter().map(|(_, payload)| payload);
    entries.iter().map(|entry| &entry.payload).chain(others).chain(requests)
}

fn push_frame<'a>(
    cluster: ClusterId,
    version: u8,
    header: &Header,
    payloads: impl Iterator<Item = &'a Bytes> + Clone,
    chunks: &mut Chunks,
) -> Result<(), Unsendable> {
    let body_bytes = payloads.clone().map(Bytes::len).sum();
    if body_bytes > MAX_BODY_BYTES {
        return Err(Unsendable::BodyTooLong(body_bytes));
    }
    let body_checksum = payloads.clone().fold(0, |sum, payload| crc32c_append(sum, payload));
    let mut head = BytesMut::with_capacity(PREFIX_BYTES + 64);
    head.put_bytes(0, PREFIX_BYTES);
    head = postcard::to_extend(header, head).expect("plain data always encodes");
    let header_bytes = head.len() - PREFIX_BYTES;
    if header_bytes > MAX_HEADER_BYTES {
        return Err(Unsendable::HeaderTooLong(header_bytes));
    }
    let prefix = Prefix { version, cluster, header_bytes, body_bytes, body_checksum };
    let prefix = prefix.encode(&head[PREFIX_BYTES..]);
    head[..PREFIX_BYTES].copy_from_slice(&prefix);
    chunks.push(head.freeze());
    payloads.for_each(|payload| chunks.push(payload.clone()));
    Ok(())
}

/// Bytes to be written to a socket, in pieces that are never joined.
#[derive(Debug, Default)]
pub struct Chunks {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Chunks {
    /// An empty list.
    pub fn new() -> Chunks {
        Chunks::default()
    }

    /// Fills `slices` with the next pieces for a vectored write, and returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.chunks_vectored(slices)
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }
}

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.pieces);
        pairs.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.bytes, "no more can be written than there is");
        self.bytes -= count;
        while let Some(first) = self.pieces.front_mut() {
            if count < first.len() {
                return first.advance(count);
            }
            count -= first.len();
            self.pieces.pop_front();
        }
    }
}
