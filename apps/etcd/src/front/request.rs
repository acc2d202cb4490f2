//! Holds a request until all its bytes have arrived.
//!
//! A gRPC message begins with its length, and the gRPC layer reserves that much memory before the
//! rest has arrived: a thousand requests that announce two megabytes and send nothing would take
//! two gigabytes. So the first message is collected here, in the pieces in which it arrives. Held
//! bytes count against a limit for all requests together, and the time for a request to arrive is
//! limited. The same time is allowed for what follows the message: the end of the request, which
//! the gRPC layer waits for.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use tonic::Status;
use tonic::body::Body as ClientBody;

use crate::errors::Refusal;

use super::wording::MAX_MESSAGE_BYTES;

/// gRPC's framing: whether the message is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The memory that a piece takes in addition to its bytes: its slot in the list, and the owner of
/// its bytes. A piece without bytes takes as much.
const PIECE_BYTES: usize = 128;

/// A request's body whose first message has arrived.
pub(crate) struct RequestBody {
    /// The first piece. Nearly every request arrives in one piece, which needs no list.
    first: Option<Piece>,
    more: VecDeque<Piece>,
    /// How many bytes have arrived so far.
    bytes: usize,
    /// The first of these bytes, up to the length of the message.
    prefix: [u8; PREFIX_BYTES],
    rest: ClientBody,
    held: Option<OwnedSemaphorePermit>,
    time: Duration,
    /// The deadline for the rest; set when the rest is first waited for.
    late: Option<Pin<Box<Sleep>>>,
}

type Piece = Result<Frame<Bytes>, Status>;

/// Waits until the first message of a body has arrived, or its length is known to be refused.
///
/// # Errors
///
/// If it does not arrive within `time`, or if the limit on held bytes is reached.
pub(super) async fn complete(
    body: ClientBody,
    room: &Arc<Semaphore>,
    time: Duration,
) -> Result<RequestBody, Status> {
    let mut body = RequestBody {
        first: None,
        more: VecDeque::new(),
        bytes: 0,
        prefix: [0; PREFIX_BYTES],
        rest: body,
        held: None,
        time,
        late: None,
    };
    within(time, body.collect(room)).await?;
    body.held = None;
    Ok(body)
}

/// Polls `collecting` once before it starts a timer, because most requests have already arrived.
async fn within(
    time: Duration,
    collecting: impl Future<Output = Result<(), Status>>,
) -> Result<(), Status> {
    let mut collecting = pin!(collecting);
    let now = poll_fn(|context| Poll::Ready(collecting.as_mut().poll(context))).await;
    if let Poll::Ready(collected) = now {
        return collected;
    }
    timeout(time, collecting).await.unwrap_or_else(|_| Err(too_late(time)))
}

fn too_late(time: Duration) -> Status {
    Status::deadline_exceeded(format!("kontiki: the request did not arrive within {time:?}"))
}

impl RequestBody {
    async fn collect(&mut self, room: &Arc<Semaphore>) -> Result<(), Status> {
        while !self.is_enough() {
            let piece = poll_fn(|context| Pin::new(&mut self.rest).poll_frame(context)).await;
            let Some(piece) = piece else { return Ok(()) };
            let Some(data) = piece.as_ref().ok().and_then(|frame| frame.data_ref()) else {
                self.push(piece);
                return Ok(()); // trailers or an error: no more bytes of a message follow
            };
            let held_bytes = PIECE_BYTES + data.len();
            count(&mut self.prefix, &mut self.bytes, data);
            self.push(piece);
            if !self.is_enough() {
                self.hold(room, held_bytes)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, piece: Piece) {
        if self.first.is_none() && self.more.is_empty() {
            self.first = Some(piece);
        } else {
            self.more.push_back(piece);
        }
    }

    /// Whether the first message has arrived, or is longer than the limit.
    fn is_enough(&self) -> bool {
        if self.bytes < PREFIX_BYTES {
            return false;
        }
        let [_, a, b, c, d] = self.prefix;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        length > MAX_MESSAGE_BYTES || self.bytes >= PREFIX_BYTES + length
    }

    /// Polls for what follows the first message.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        let rest = Pin::new(&mut self.rest).poll_frame(context);
        if rest.is_ready() {
            return rest;
        }
        let time = self.time;
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(time)));
        late.as_mut().poll(context).map(|()| Some(Err(too_late(time))))
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

/// Counts the bytes of a piece, and copies those that belong to the prefix.
fn count(prefix: &mut [u8; PREFIX_BYTES], bytes: &mut usize, data: &[u8]) {
    let missing = &mut prefix[(*bytes).min(PREFIX_BYTES)..];
    let length = missing.len().min(data.len());
    missing[..length].copy_from_slice(&data[..length]);
    *bytes += data.len();
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        match this.first.take().or_else(|| this.more.pop_front()) {
            Some(piece) => Poll::Ready(Some(piece)),
            None => this.poll_rest(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.more.is_empty() && self.rest.is_end_stream()
    }
}
