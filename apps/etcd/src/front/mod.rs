//! What stands between the client port and the services, and what keeps clients within limits.
//!
//! ```text
//!   listener -> incoming -> connection -> [HTTP/2, gRPC] -> Front -> services
//!               up to a     cut off when   so many          request: held until it is complete
//!               limit       its answers    requests each    answer: watched until it is sent
//!                           are not read
//! ```
//!
//! A request counts against [`ServerLimits::requests`] until its answer is sent or dropped. The
//! gRPC layer reserves memory for as many bytes as a request announces, so [`request`] hands a
//! request on only when its bytes are there. [`watch`] finds the answers that no client reads.
//! [`wording`] puts refusals of the gRPC layer into etcd's words.

mod answer;
mod connection;
mod incoming;
mod request;
mod watch;
mod wording;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response, Uri};
use tonic::service::{AxumBody, AxumRouter, Routes};

use crate::answer::Large;
use crate::errors::Refusal;
use crate::limits::ServerLimits;

use answer::AnswerBody;
use watch::{ConnectionInfo, Progress};

pub(crate) use incoming::Incoming;
pub(crate) use watch::Watch;
pub(crate) use wording::MAX_MESSAGE_BYTES;

/// The services of a member behind the limits.
pub(crate) fn within_limits(routes: Routes, limits: &ServerLimits, watch: Watch) -> Routes {
    let inner = routes.prepare().into_axum_router();
    let front = Front {
        inner,
        requests: Arc::new(Semaphore::new(limits.requests)),
        held: Arc::new(Semaphore::new(limits.request_bytes)),
        request_time: limits.request_time,
        watch,
    };
    Routes::from(AxumRouter::new().fallback_service(front))
}

#[derive(Clone)]
struct Front {
    inner: AxumRouter,
    /// A permit for each request that may be under way.
    requests: Arc<Semaphore>,
    /// A permit for each byte of incomplete requests that may be held.
    held: Arc<Semaphore>,
    request_time: std::time::Duration,
    watch: Watch,
}

impl Service<Request<AxumBody>> for Front {
    type Response = Response<AxumBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<AxumBody>>::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, request: Request<AxumBody>) -> Self::Future {
        let Ok(permit) = self.requests.clone().try_acquire_owned() else {
            return Box::pin(async { Ok(refuse(Refusal::TooManyRequests.into())) });
        };
        let mut front = self.clone();
        Box::pin(async move { front.answer(request, permit).await })
    }
}

impl Front {
    async fn answer(
        &mut self,
        request: Request<AxumBody>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<AxumBody>, Infallible> {
        let uri = request.uri().clone();
        let connection = request.extensions().get::<ConnectionInfo>().cloned();
        let (head, body) = request.into_parts();
        let body = match request::complete(body, &self.held, self.request_time).await {
            Ok(body) => body,
            Err(status) => return Ok(refuse(status)),
        };
        let response = self.inner.call(Request::from_parts(head, body)).await?;
        let (response, is_large) = to_send(&uri, response);
        let progress = connection.map(|connection| {
            if is_large { self.watch.alone(&connection) } else { connection.progress.clone() }
        });
        Ok(response.map(|body| AxumBody::new(AnswerBody::new(body, permit, progress))))
    }
}

fn refuse(status: Status) -> Response<AxumBody> {
    status.into_http::<Body>().map(AxumBody::new)
}

/// What is sent in place of a response: a large answer, or etcd's words for a refusal. Says whether
/// it is large.
fn to_send(uri: &Uri, mut response: Response<AxumBody>) -> (Response<AxumBody>, bool) {
    if let Some(large) = response.extensions_mut().remove::<Large>() {
        return (response.map(|_| AxumBody::new(large.into_body())), true);
    }
    match wording::in_other_words(uri, response.headers()) {
        Some(status) => (refuse(status), false),
        None => (response, false),
    }
}

/// The progress of answers, as [`AnswerBody`] reports it.
type SharedProgress = Arc<Progress>;
