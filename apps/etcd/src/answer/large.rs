//! An answer that is sent in chunks.
//!
//! The gRPC layer would copy a response of any size into one buffer, on the thread that also drives
//! the member. So a service answers with an empty message and adds a [`Large`] to the response's
//! extensions. [`crate::front`] sends that instead: gRPC's five bytes of framing, the encoded
//! message in slices that share its memory, and the status. Until the body is dropped, its bytes
//! count against the bytes that may wait to be sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use prost::Message;
use tonic::codegen::http::{HeaderMap, HeaderValue};

use super::budget::Share;

/// The size of a chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// The bytes of an answer, and their permit.
#[derive(Clone, Debug)]
pub(crate) struct Large {
    framed: Bytes,
    bytes: Arc<Share>,
}

/// Sends a [`Large`].
#[derive(Debug)]
pub(crate) struct LargeBody {
    rest: Bytes,
    is_status_sent: bool,
    _bytes: Arc<Share>,
}

/// Encodes a message of `length` bytes with gRPC's framing: 0 for "not compressed", the length in
/// four bytes, the message.
pub(super) fn encode(message: &impl Message, length: usize) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + length);
    framed.put_u8(0);
    framed.put_u32(length as u32);
    message.encode_raw(&mut framed);
    framed.freeze()
}

impl Large {
    pub(super) fn new(framed: Bytes, bytes: Share) -> Large {
        Large { framed, bytes: Arc::new(bytes) }
    }

    pub(crate) fn into_body(self) -> LargeBody {
        LargeBody { rest: self.framed, is_status_sent: false, _bytes: self.bytes }
    }
}

impl Body for LargeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if !this.rest.is_empty() {
            let chunk = this.rest.split_to(CHUNK_BYTES.min(this.rest.len()));
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if this.is_status_sent {
            return Poll::Ready(None);
        }
        this.is_status_sent = true;
        let mut status = HeaderMap::new();
        status.insert("grpc-status", HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(status))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_status_sent
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
