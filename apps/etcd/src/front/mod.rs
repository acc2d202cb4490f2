//! The layer between the client port and the services, which enforces the limits on clients.
//!
//! ```text
//!   listener -> incoming -> connection -> [HTTP/2, gRPC] -> Front -> services
//!               up to a     cut off when   so many          request: held until it is complete
//!               limit       its answers    requests each    answer: watched until it is sent
//!                           are not read
//! ```
//!
//! A request counts against [`ServerLimits::requests`] until its answer is sent or dropped. The
//! gRPC layer reserves memory for as many bytes as a request announces, so [`request`] passes a
//! request on only when its bytes have arrived. [`watch`] finds the answers that no client reads.
//! [`wording`] rewords refusals of the gRPC layer as etcd words them.

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
use std::time::Duration;

use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response, Uri};
use tonic::server::NamedService;
use tonic::service::Routes;
use tower_layer::Layer;

use crate::answer::Large;
use crate::errors::Refusal;
use crate::limits::ServerLimits;

use answer::AnswerBody;
use request::RequestBody;
use watch::{ConnectionInfo, Progress};

pub(crate) use incoming::Incoming;
pub(crate) use watch::Watch;
pub(crate) use wording::MAX_MESSAGE_BYTES;

/// The state that the requests of all connections share.
struct Limits {
    /// A permit for each request that may be in progress.
    requests: Arc<Semaphore>,
    /// A permit for each byte of incomplete requests that may be held.
    held: Arc<Semaphore>,
    request_time: Duration,
    watch: Watch,
}

/// Puts [`Front`] before the services.
#[derive(Clone)]
pub(crate) struct FrontLayer<M> {
    main: M,
    limits: Arc<Limits>,
}

impl<M> FrontLayer<M> {
    /// `main` is the service that takes most requests. It is called directly: the search for a
    /// service by path allocates and costs about a twentieth of a put.
    pub(crate) fn new(main: M, limits: &ServerLimits, watch: Watch) -> FrontLayer<M> {
        let limits = Limits {
            requests: Arc::new(Semaphore::new(limits.requests)),
            held: Arc::new(Semaphore::new(limits.request_bytes)),
            request_time: limits.request_time,
            watch,
        };
        FrontLayer { main, limits: Arc::new(limits) }
    }
}

impl<M: Clone> Layer<Routes> for FrontLayer<M> {
    type Service = Front<M>;

    fn layer(&self, others: Routes) -> Front<M> {
        Front { main: self.main.clone(), others, limits: self.limits.clone() }
    }
}

/// The services of a member behind the limits.
#[derive(Clone)]
pub(crate) struct Front<M> {
    main: M,
    others: Routes,
    limits: Arc<Limits>,
}

/// A gRPC service, as the code that tonic generates calls it.
pub(crate) trait GrpcService:
    Service<Request<RequestBody>, Response = Response<Body>, Error = Infallible, Future: Send>
    + NamedService
    + Clone
    + Send
    + 'static
{
}

impl<S> GrpcService for S where
    S: Service<Request<RequestBody>, Response = Response<Body>, Error = Infallible, Future: Send>
        + NamedService
        + Clone
        + Send
        + 'static
{
}

impl<M: GrpcService> Service<Request<Body>> for Front<M> {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    /// Always ready, like every service that tonic generates, and like its router.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let front = self.clone();
        Box::pin(front.answer(request))
    }
}

impl<M: GrpcService> Front<M> {
    async fn answer(self, request: Request<Body>) -> Result<Response<AnswerBody>, Infallible> {
        let Ok(permit) = self.limits.requests.clone().try_acquire_owned() else {
            return Ok(refuse(Refusal::TooManyRequests.into()));
        };
        let uri = request.uri().clone();
        let connection = request.extensions().get::<ConnectionInfo>().cloned();
        let (head, body) = request.into_parts();
        let body = match request::complete(body, &self.limits.held, self.limits.request_time).await
        {
            Ok(body) => body,
            Err(status) => return Ok(refuse(status)),
        };
        let watch = self.limits.watch.clone();
        let response = self.route(Request::from_parts(head, body)).await?;
        let (response, is_large) = to_send(&uri, response);
        let progress = connection.map(|connection| {
            if is_large { watch.alone(&connection) } else { connection.progress.clone() }
        });
        Ok(response.map(|body| AnswerBody::new(body, permit, progress)))
    }

    async fn route(mut self, request: Request<RequestBody>) -> Result<Response<Body>, Infallible> {
        if is_for::<M>(request.uri().path()) {
            self.main.call(request).await
        } else {
            self.others.call(request).await
        }
    }
}

/// Whether a path names a method of the service: `/package.Service/Method`.
fn is_for<S: NamedService>(path: &str) -> bool {
    let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(S::NAME));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

fn refuse(status: Status) -> Response<AnswerBody> {
    status.into_http::<Body>().map(AnswerBody::unwatched)
}

/// The response that is sent instead: a large answer, or etcd's text for a refusal. The flag says
/// whether it is large.
fn to_send(uri: &Uri, mut response: Response<Body>) -> (Response<Body>, bool) {
    if let Some(large) = response.extensions_mut().remove::<Large>() {
        return (response.map(|_| Body::new(large.into_body())), true);
    }
    match wording::in_other_words(uri, response.headers()) {
        Some(status) => (status.into_http(), false),
        None => (response, false),
    }
}

/// The progress of answers, as [`AnswerBody`] reports it.
type SharedProgress = Arc<Progress>;

#[cfg(test)]
mod tests {
    use super::*;

    struct Named;

    impl NamedService for Named {
        const NAME: &'static str = "package.Service";
    }

    #[test]
    fn only_a_path_below_its_whole_name_belongs_to_a_service() {
        assert!(is_for::<Named>("/package.Service/Method"));
        for other in ["/package.Services/Method", "/package.Service", "package.Service/Method", ""]
        {
            assert!(!is_for::<Named>(other), "{other}");
        }
    }
}
