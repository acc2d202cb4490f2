//! Holds a request back until its bytes are there.
//!
//! A gRPC message begins with its length, and the gRPC layer reserves as much before the rest has
//! come: a thousand requests that announce two megabytes and send nothing would take two gigabytes.
//! So the first message is collected here first, in the pieces that it comes in. What is held
//! counts against a limit over all requests, and a request has a limited time to arrive.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Status;
use tonic::service::AxumBody;

use crate::errors::Refusal;

use super::wording::MAX_MESSAGE_BYTES;

/// gRPC's framing: whether the message is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// What a piece takes besides its bytes: its place in the list, and what keeps its bytes alive. A
/// piece without bytes takes as much.
const PIECE_BYTES: usize = 128;

type Error = <AxumBody as Body>::Error;

/// A request's body whose first message is here.
struct Complete {
    frames: VecDeque<Result<Frame<Bytes>, Error>>,
    /// What has come so far of the first message.
    bytes: usize,
    prefix: Vec<u8>,
    rest: AxumBody,
    held: Option<OwnedSemaphorePermit>,
}

/// Waits until the first message of a body is here whole, or its length is known to be refused.
///
/// # Errors
///
/// If it does not come within `time`, or if there is no room to hold it.
pub(super) async fn complete(
    body: AxumBody,
    room: &Arc<Semaphore>,
    time: Duration,
) -> Result<AxumBody, Status> {
    let mut complete = Complete {
        frames: VecDeque::with_capacity(1),
        bytes: 0,
        prefix: Vec::new(),
        rest: body,
        held: None,
    };
    match timeout(time, complete.collect(room)).await {
        Ok(collected) => collected?,
        Err(_) => {
            let text = format!("kontiki: the request did not arrive within {time:?}");
            return Err(Status::deadline_exceeded(text));
        }
    }
    complete.held = None;
    Ok(AxumBody::new(complete))
}

impl Complete {
    async fn collect(&mut self, room: &Arc<Semaphore>) -> Result<(), Status> {
        while !self.is_enough() {
            let frame =
                std::future::poll_fn(|context| Pin::new(&mut self.rest).poll_frame(context));
            let Some(frame) = frame.await else { return Ok(()) };
            let data = frame.as_ref().ok().and_then(|frame| frame.data_ref());
            let Some(data) = data else {
                self.frames.push_back(frame);
                return Ok(()); // trailers or an error: nothing more of a message comes
            };
            self.bytes += data.remaining();
            let missing = PREFIX_BYTES.saturating_sub(self.prefix.len()).min(data.len());
            self.prefix.extend_from_slice(&data[..missing]);
            let held_bytes = PIECE_BYTES + data.len();
            self.frames.push_back(frame);
            if !self.is_enough() {
                self.hold(room, held_bytes)?;
            }
        }
        Ok(())
    }

    /// Whether the first message is here whole, or is longer than what is accepted.
    fn is_enough(&self) -> bool {
        let Some(length) = self.prefix.get(1..PREFIX_BYTES) else { return false };
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        length > MAX_MESSAGE_BYTES || self.bytes >= PREFIX_BYTES + length
    }

    fn hold(&mut self, room: &Arc<Semaphore>, bytes: usize) -> Result<(), Status> {
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::TooManyRequests)?;
        let more = room.clone().try_acquire_many_owned(bytes);
        let more = more.map_err(|_| Refusal::TooManyRequests)?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

impl Body for Complete {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        match this.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut this.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.is_end_stream()
    }
}
