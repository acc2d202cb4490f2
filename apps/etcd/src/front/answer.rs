//! The body of a response while it is sent to a client. It reports its progress and counts against
//! the limit on requests.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::body::Body as ServiceBody;

use super::SharedProgress;

/// A response's body. When dropped, it releases its request's permit.
pub(crate) struct AnswerBody {
    inner: ServiceBody,
    progress: Option<SharedProgress>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AnswerBody {
    pub(super) fn new(
        inner: ServiceBody,
        permit: OwnedSemaphorePermit,
        progress: Option<SharedProgress>,
    ) -> AnswerBody {
        if let Some(progress) = &progress {
            progress.begin();
        }
        AnswerBody { inner, progress, _permit: Some(permit) }
    }

    /// The body of a refusal: it counts as no request in progress, and is too short to be watched.
    pub(super) fn unwatched(inner: ServiceBody) -> AnswerBody {
        AnswerBody { inner, progress: None, _permit: None }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(context));
        if let Some(progress) = &this.progress {
            progress.note();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress {
            progress.end();
        }
    }
}
