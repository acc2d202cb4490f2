//! A small client for Kontiki's own tools: a few requests, to any member that can take them.
//!
//! It holds one connection. It connects to an endpoint that answers, requests the leader's address
//! from it, and connects to the leader, where a request takes one hop less; any member would do.
//! When an endpoint fails, the client tries the next one, but never sends twice a request that may
//! have changed something.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

use crate::api::etcdserverpb::kv_client::KvClient;
use crate::api::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse};
use crate::api::kontiki::v1::admin_client::AdminClient;
use crate::api::kontiki::v1::{
    AdminCancelChangeRequest, AdminChangeRequest, AdminChangeResponse, AdminEvent,
    AdminEventsRequest, AdminJoinRequest, AdminJoinResponse, AdminPlan, AdminSnapshotRequest,
    AdminSnapshotResponse, AdminStatusRequest, AdminStatusResponse, AdminTransferRequest,
};
use crate::errors::Refusal;

/// How long a request may take, all attempts together, unless [`Client::with_timeout`] sets another
/// limit.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one endpoint may take to accept a connection or to report its status.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait once every endpoint has failed, before the next round.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// Why a request has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The list of endpoints is empty. Nothing was sent.
    #[error("no endpoint is given; name at least one, as in 127.0.0.1:2379")]
    NoEndpoints,
    /// An endpoint cannot be read. Nothing was sent.
    #[error("the endpoint {0:?} is not an address; write host:port or http://host:port")]
    BadEndpoint(String),
    /// No endpoint could take the request in the given time. Nothing happened.
    #[error("no endpoint could take the request (last tried {endpoint}: {reason})")]
    Unavailable {
        /// The endpoint that was tried last.
        endpoint: String,
        /// Its answer, or why it could not be reached.
        reason: String,
    },
    /// The request was sent, and its outcome is unknown. Read the state before you retry.
    #[error("{endpoint} did not report the outcome ({reason}); the change may have happened")]
    Unknown {
        /// The endpoint to which the request was sent.
        endpoint: String,
        /// Its answer, or how the connection ended.
        reason: String,
    },
    /// The request was refused. Nothing happened, and a retry does not help.
    #[error("{}", .0.message())]
    Refused(Status),
}

/// The status of one endpoint.
#[derive(Debug)]
pub struct EndpointStatus {
    /// The endpoint, as the caller gave it.
    pub endpoint: String,
    /// The answer of its member, or why it could not be asked.
    pub status: Result<AdminStatusResponse, String>,
}

/// The snapshot of the member at one endpoint.
#[derive(Debug)]
pub struct EndpointSnapshot {
    /// The endpoint, as the caller gave it.
    pub endpoint: String,
    /// The answer of its member, or why there is none.
    pub snapshot: Result<AdminSnapshotResponse, String>,
}

/// A connection to a cluster.
#[derive(Debug)]
pub struct Client {
    endpoints: Vec<(String, Endpoint)>,
    /// The endpoint to try next.
    next: usize,
    /// The connection in use, and the endpoint's name.
    connection: Option<(String, Channel)>,
    timeout: Duration,
}

/// The result of one attempt.
enum Attempt {
    /// Nothing happened; another endpoint may succeed.
    NotTaken(String),
    /// It may have happened.
    Unclear(String),
    /// It was refused, and a retry does not help.
    Refused(Status),
}

impl Client {
    /// A client for the cluster behind these endpoints; connects with the first request.
    pub fn new<S: AsRef<str>>(
        endpoints: impl IntoIterator<Item = S>,
    ) -> Result<Client, ClientError> {
        let endpoints = endpoints.into_iter().map(|endpoint| parse(endpoint.as_ref()));
        let endpoints: Vec<_> = endpoints.collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(ClientError::NoEndpoints);
        }
        Ok(Client { endpoints, next: 0, connection: None, timeout: DEFAULT_TIMEOUT })
    }

    /// Gives each request this long.
    pub fn with_timeout(self, timeout: Duration) -> Client {
        Client { timeout, ..self }
    }

    /// How long each request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Puts a value and returns the revision that has it.
    pub async fn put(
        &mut self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<i64, ClientError> {
        let request = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
        let send = |channel, request| async move { kv(channel).put(request).await };
        let response = self.attempt_until_done(request, send, Effect::Change).await?;
        Ok(response.header.unwrap_or_default().revision)
    }

    /// Reads keys, as the request says.
    pub async fn get(&mut self, request: RangeRequest) -> Result<RangeResponse, ClientError> {
        let send = |channel, request| async move {
            let client = kv(channel);
            // The answer to a range may be far larger than any request.
            client.max_decoding_message_size(usize::MAX).range(request).await
        };
        self.attempt_until_done(request, send, Effect::None).await
    }

    /// Deletes keys, as the request says, and returns how many there were.
    pub async fn delete(&mut self, request: DeleteRangeRequest) -> Result<i64, ClientError> {
        let send = |channel, request| async move { kv(channel).delete_range(request).await };
        Ok(self.attempt_until_done(request, send, Effect::Change).await?.deleted)
    }

    /// Asks every endpoint for its status. An endpoint that does not answer within a second (or
    /// within the time limit of a request, if that is less) does not delay the others.
    pub async fn status(&self) -> Vec<EndpointStatus> {
        let mut statuses = Vec::with_capacity(self.endpoints.len());
        for (name, endpoint) in &self.endpoints {
            let asked = async { ask_status(connect(endpoint).await?).await };
            let status = timeout(self.timeout, asked).await;
            let status = status.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            statuses.push(EndpointStatus { endpoint: name.clone(), status });
        }
        statuses
    }

    /// Asks every endpoint, one after another, to take a snapshot now. The time limit of a request
    /// counts for each of them; a snapshot that is not durable by then is still being written.
    pub async fn snapshot(&self) -> Vec<EndpointSnapshot> {
        let mut snapshots = Vec::with_capacity(self.endpoints.len());
        for (name, endpoint) in &self.endpoints {
            let asked = async {
                let mut client = AdminClient::new(connect(endpoint).await?);
                let answer = client.snapshot(AdminSnapshotRequest {}).await;
                answer.map(Response::into_inner).map_err(|status| status.message().to_owned())
            };
            let snapshot = timeout(self.timeout, asked).await;
            let snapshot = snapshot.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            snapshots.push(EndpointSnapshot { endpoint: name.clone(), snapshot });
        }
        snapshots
    }

    /// Joins the cluster as a learner. May be asked again: the answer is the same.
    pub async fn join(
        &mut self,
        request: AdminJoinRequest,
    ) -> Result<AdminJoinResponse, ClientError> {
        let send = |channel, request| async move { AdminClient::new(channel).join(request).await };
        self.attempt_until_done(request, send, Effect::None).await
    }

    /// What a change of the membership would do.
    pub async fn plan(&mut self, request: AdminChangeRequest) -> Result<AdminPlan, ClientError> {
        let send = |channel, request| async move { AdminClient::new(channel).plan(request).await };
        self.attempt_until_done(request, send, Effect::None).await
    }

    /// Changes the membership, and waits until that is done.
    pub async fn change(
        &mut self,
        request: AdminChangeRequest,
    ) -> Result<AdminChangeResponse, ClientError> {
        let send =
            |channel, request| async move { AdminClient::new(channel).change(request).await };
        self.attempt_until_done(request, send, Effect::Change).await
    }

    /// Asks the leader to give up the change that it makes.
    pub async fn cancel_change(&mut self) -> Result<(), ClientError> {
        let send = |channel, request| async move {
            AdminClient::new(channel).cancel_change(request).await
        };
        let request = AdminCancelChangeRequest {};
        self.attempt_until_done(request, send, Effect::None).await.map(drop)
    }

    /// Hands the leadership over, to the voter that has stored the most if `to` is `None`; returns
    /// the member that leads now.
    pub async fn transfer(&mut self, to: Option<u64>) -> Result<u64, ClientError> {
        let send =
            |channel, request| async move { AdminClient::new(channel).transfer(request).await };
        let request = AdminTransferRequest { to: to.unwrap_or(0) };
        Ok(self.attempt_until_done(request, send, Effect::Change).await?.leader)
    }

    /// The events of the member at the first endpoint, from now on.
    ///
    /// # Errors
    /// Why that member cannot be asked.
    pub async fn events(&self) -> Result<Streaming<AdminEvent>, String> {
        let (_, endpoint) = &self.endpoints[0];
        let mut client = AdminClient::new(connect(endpoint).await?);
        let events = timeout(self.timeout, client.events(AdminEventsRequest {})).await;
        let events = events.map_err(|_| "no answer in time".to_owned())?;
        events.map(Response::into_inner).map_err(|status| status.message().to_owned())
    }

    /// The status of the leader, if one is found and answers.
    pub async fn leader_status(&mut self) -> Option<AdminStatusResponse> {
        let (_, channel) = self.connected().await.ok()?;
        let status = ask_status(channel).await.ok().filter(|status| status.id == status.leader);
        if status.is_none() {
            self.connection = None;
        }
        status
    }

    async fn attempt_until_done<Q: Clone, R, F>(
        &mut self,
        request: Q,
        send: impl Fn(Channel, Q) -> F,
        effect: Effect,
    ) -> Result<R, ClientError>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        let mut failures = 0;
        loop {
            let (endpoint, attempt) = match self.connected().await {
                Err((endpoint, reason)) => (endpoint, Attempt::NotTaken(reason)),
                Ok((endpoint, channel)) => {
                    match timeout_at(deadline, send(channel, request.clone())).await {
                        Ok(Ok(response)) => return Ok(response.into_inner()),
                        Ok(Err(status)) => (endpoint, judge(status, effect)),
                        Err(_) => (endpoint, late(effect)),
                    }
                }
            };
            self.connection = None;
            let reason = match attempt {
                Attempt::Refused(status) => return Err(ClientError::Refused(status)),
                Attempt::Unclear(reason) => return Err(ClientError::Unknown { endpoint, reason }),
                Attempt::NotTaken(reason) => reason,
            };
            failures += 1;
            if Instant::now() >= deadline {
                return Err(ClientError::Unavailable { endpoint, reason });
            }
            if failures % self.endpoints.len() == 0 {
                sleep(ROUND_PAUSE).await;
            }
        }
    }

    /// The connection in use, or a new one: to the leader, if the next endpoint reports one.
    async fn connected(&mut self) -> Result<(String, Channel), (String, String)> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let (name, endpoint) = self.endpoints[self.next].clone();
        self.next = (self.next + 1) % self.endpoints.len();
        let channel = connect(&endpoint).await.map_err(|reason| (name.clone(), reason))?;
        let connection = match follow_hint(&name, channel.clone()).await {
            Some(leader) => leader,
            None => (name, channel),
        };
        Ok(self.connection.insert(connection).clone())
    }
}

/// Whether a request changes something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    Change,
}

/// A connection to the leader, if the member behind `channel` reports another member as the leader.
async fn follow_hint(name: &str, channel: Channel) -> Option<(String, Channel)> {
    let status = ask_status(channel).await.ok()?;
    let leader = status.members.iter().find(|member| member.id == status.leader)?;
    if status.leader == status.id || leader.client_url.is_empty() {
        return None;
    }
    let (leader_name, endpoint) = parse(&leader.client_url).ok()?;
    let channel = connect(&endpoint).await.ok()?;
    tracing::debug!(from = name, to = leader_name, "following the hint to the leader");
    Some((leader_name, channel))
}

fn parse(name: &str) -> Result<(String, Endpoint), ClientError> {
    let bad = || ClientError::BadEndpoint(name.to_owned());
    let url = if name.contains("://") { name.to_owned() } else { format!("http://{name}") };
    let endpoint = Endpoint::from_shared(url).map_err(|_| bad())?;
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(bad());
    }
    Ok((name.to_owned(), endpoint.connect_timeout(CONNECT_TIMEOUT)))
}

/// A client that requires members without a leader to refuse its requests: another member may have
/// a leader, and a member without one would let the request wait.
fn kv(channel: Channel) -> KvClient<InterceptedService<Channel, Wish>> {
    KvClient::with_interceptor(channel, |mut ask| {
        ask.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        Ok(ask)
    })
}

/// Adds the client's metadata to a request of any kind.
type Ask = tonic::Request<()>;
type Wish = fn(Ask) -> Result<Ask, Status>;

async fn connect(endpoint: &Endpoint) -> Result<Channel, String> {
    endpoint.connect().await.map_err(|error| innermost(&error))
}

async fn ask_status(channel: Channel) -> Result<AdminStatusResponse, String> {
    let mut client = AdminClient::new(channel);
    match timeout(CONNECT_TIMEOUT, client.status(AdminStatusRequest {})).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// The cause at the end of the chain: "connection refused" says more than "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn judge(status: Status, effect: Effect) -> Attempt {
    let untouched =
        [Refusal::NoLeader, Refusal::NotLeader, Refusal::Stopped, Refusal::TooManyRequests];
    if untouched.iter().any(|refusal| refusal.to_string() == status.message()) {
        return Attempt::NotTaken(status.message().to_owned());
    }
    let is_unclear = match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => true,
        // The code of a broken connection.
        Code::Unknown | Code::Internal => std::error::Error::source(&status).is_some(),
        _ => false,
    };
    match (is_unclear, effect) {
        (false, _) => Attempt::Refused(status),
        (true, Effect::None) => Attempt::NotTaken(status.message().to_owned()),
        (true, Effect::Change) => Attempt::Unclear(status.message().to_owned()),
    }
}

fn late(effect: Effect) -> Attempt {
    let reason = "no answer in time".to_owned();
    match effect {
        Effect::None => Attempt::NotTaken(reason),
        Effect::Change => Attempt::Unclear(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_checked_when_given() {
        assert!(matches!(Client::new::<&str>([]), Err(ClientError::NoEndpoints)));
        assert!(matches!(Client::new(["a b"]), Err(ClientError::BadEndpoint(_))));
        assert!(Client::new(["127.0.0.1:2379", "http://localhost:22379"]).is_ok());
    }

    #[test]
    fn a_request_can_be_spawned() {
        fn spawnable(_: impl Send) {}
        let mut client = Client::new(["127.0.0.1:1"]).expect("an endpoint");
        spawnable(client.put("k", "v"));
        spawnable(client.get(RangeRequest::default()));
    }

    #[test]
    fn only_what_is_known_not_to_have_happened_is_sent_again() {
        let timed_out = || Status::from(Refusal::TimedOut);
        assert!(matches!(judge(timed_out(), Effect::Change), Attempt::Unclear(_)));
        assert!(matches!(judge(timed_out(), Effect::None), Attempt::NotTaken(_)));
        let no_leader = Status::from(Refusal::NoLeader);
        assert!(matches!(judge(no_leader, Effect::Change), Attempt::NotTaken(_)));
        let empty = Status::from(Refusal::EmptyKey);
        assert!(matches!(judge(empty, Effect::Change), Attempt::Refused(_)));
    }
}
