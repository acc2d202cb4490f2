//! The Cluster service: lists the members, and changes them.
//!
//! etcd's requests change one member each. They are carried out by the leader; any other member
//! passes a request on to the leader's client port, once, and answers what the leader answers. A
//! request that finds no leader waits for one, as in etcd. One whose leader changes while it is
//! carried out is carried out at the next leader; what the first attempt has done counts then.
//!
//! A member that is added as a voter becomes a learner first. The leader makes it a voter by itself
//! when it has received the log ([`crate::membership::promotion`]).

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use kontiki::consensus::ChangeRefusal;
use kontiki::types::MembershipError;
use kontiki::{ChangeError, Membership, NodeId};

use crate::addresses::MemberAddresses;
use crate::api::etcdserverpb::cluster_client::ClusterClient;
use crate::api::etcdserverpb::cluster_server::Cluster;
use crate::api::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse, ResponseHeader,
};
use crate::engine::{ClusterMember, Engine};
use crate::errors::Refusal;
use crate::member::{Patience, SharedMember};
use crate::membership::edit::{self, Edit, EditError, Edited};
use crate::membership::{self, Failure, is_in_sync};

/// The metadata of a request that another member has passed on; its value says whether an earlier
/// attempt may have been carried out.
const PASSED_ON: &str = "kontiki-passed-on";

/// The values of that metadata.
const FIRST: &str = "first";
const AGAIN: &str = "again";

/// How long the leader's port may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the leader may take to answer, longer than a change may take there (7 seconds until it
/// begins, then 10 for each of its stages).
const PASS_ON_TIMEOUT: Duration = Duration::from_secs(50);

/// How often a connection to the leader is tried while a request waits, and how long its answer may
/// take: a host that has lost its power closes no connection.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3));

/// How long this member may take to have in its own log what the leader has committed.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(1);

/// The service.
pub(crate) struct ClusterService<E> {
    pub(crate) member: SharedMember<E>,
}

#[tonic::async_trait]
impl<E: Engine> Cluster for ClusterService<E> {
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        self.member.admit(request.metadata())?;
        let (header, members) = (Some(self.header()), self.members());
        Ok(Response::new(MemberListResponse { header, members }))
    }

    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let add = |request: MemberAddRequest, again: bool| async move {
            let peer_url = only_url(&request.peer_urls)?;
            let edit = |now: &Membership| {
                match edit::at_peer_url(now, &peer_url) {
                    Some(node) if again => return Ok(unchanged(now, node)),
                    Some(_) => return Err(Refusal::PeerUrlExists.into()),
                    None => {}
                }
                let votes_soon = !request.is_learner;
                let (name, client_url) = (String::new(), String::new());
                let addresses =
                    MemberAddresses { name, peer_url: peer_url.clone(), client_url, votes_soon };
                edited(now, Edit::Add(addresses))
            };
            let (now, edited) = membership::change(&self.member.engine, edit).await?;
            let added = edited.added.expect("the edit adds a node");
            let members = to_members(&now);
            let member = members.iter().find(|member| member.id == added.get()).cloned();
            Ok(MemberAddResponse { header: None, member, members })
        };
        let pass_on = |mut leader: ClusterClient<Channel>, request| async move {
            leader.member_add(request).await.map(Response::into_inner)
        };
        let answer = self.at_leader(request, add, pass_on).await?;
        Ok(Response::new(MemberAddResponse { header: Some(self.header()), ..answer }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let remove = |request: MemberRemoveRequest, again: bool| async move {
            let edit = |now: &Membership, node| {
                let was_removed = again && node <= now.highest();
                if now.contains(node) || was_removed { Ok(Edit::Remove(node)) } else { missing() }
            };
            let members = self.change(request.id, edit).await?;
            Ok(MemberRemoveResponse { header: None, members })
        };
        let pass_on = |mut leader: ClusterClient<Channel>, request| async move {
            leader.member_remove(request).await.map(Response::into_inner)
        };
        let answer = self.at_leader(request, remove, pass_on).await?;
        Ok(Response::new(MemberRemoveResponse { header: Some(self.header()), ..answer }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let update = |request: MemberUpdateRequest, _| async move {
            let peer_url = only_url(&request.peer_urls)?;
            let edit = |now: &Membership, node| match edit::at_peer_url(now, &peer_url) {
                _ if !now.contains(node) => missing(),
                Some(other) if other != node => Err(Refusal::PeerUrlExists.into()),
                _ => {
                    let peer_url = peer_url.clone();
                    let addresses = MemberAddresses { peer_url, ..MemberAddresses::default() };
                    Ok(Edit::SetAddresses(node, addresses))
                }
            };
            let members = self.change(request.id, edit).await?;
            Ok(MemberUpdateResponse { header: None, members })
        };
        let pass_on = |mut leader: ClusterClient<Channel>, request| async move {
            leader.member_update(request).await.map(Response::into_inner)
        };
        let answer = self.at_leader(request, update, pass_on).await?;
        Ok(Response::new(MemberUpdateResponse { header: Some(self.header()), ..answer }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let promote = |request: MemberPromoteRequest, again: bool| async move {
            let edit = |now: &Membership, node| {
                if !now.contains(node) {
                    return missing();
                }
                if !now.is_learner(node) {
                    let refusal = Err(Refusal::NotALearner.into());
                    return if again { Ok(Edit::Promote(node)) } else { refusal };
                }
                if !is_in_sync(&self.member.engine, node) {
                    return Err(Refusal::LearnerNotReady.into());
                }
                Ok(Edit::Promote(node))
            };
            let members = self.change(request.id, edit).await?;
            Ok(MemberPromoteResponse { header: None, members })
        };
        let pass_on = |mut leader: ClusterClient<Channel>, request| async move {
            leader.member_promote(request).await.map(Response::into_inner)
        };
        let answer = self.at_leader(request, promote, pass_on).await?;
        Ok(Response::new(MemberPromoteResponse { header: Some(self.header()), ..answer }))
    }
}

impl<E: Engine> ClusterService<E> {
    /// etcd leaves the revision out of this header.
    fn header(&self) -> ResponseHeader {
        let standing = self.member.engine.standing();
        ResponseHeader {
            cluster_id: standing.cluster.0,
            member_id: standing.node.get(),
            raft_term: standing.term.get(),
            revision: 0,
        }
    }

    fn members(&self) -> Vec<Member> {
        self.member.engine.members().iter().map(to_answer).collect()
    }

    /// Changes one member here, and returns all of them.
    async fn change(
        &self,
        id: u64,
        edit: impl Fn(&Membership, NodeId) -> Result<Edit, Error>,
    ) -> Result<Vec<Member>, Error> {
        let node = NodeId::new(id).ok_or(Refusal::MemberNotFound)?;
        let edit = |now: &Membership| edited(now, edit(now, node)?);
        let (now, _) = membership::change(&self.member.engine, edit).await?;
        Ok(to_members(&now))
    }

    /// Carries a request out here if this member leads, or else at the leader. Waits for a leader.
    async fn at_leader<Q: Clone, R, L, P>(
        &self,
        request: Request<Q>,
        here: impl Fn(Q, bool) -> L,
        pass_on: impl Fn(ClusterClient<Channel>, Request<Q>) -> P,
    ) -> Result<R, Status>
    where
        L: Future<Output = Result<R, Error>>,
        P: Future<Output = Result<R, Status>>,
    {
        self.member.admit(request.metadata())?;
        let passed_on = request.metadata().get(PASSED_ON).cloned();
        let mut again = passed_on.as_ref().is_some_and(|value| value == AGAIN);
        let request = request.into_inner();
        let patience = Patience::begin();
        loop {
            match here(request.clone(), again).await {
                Err(Error::Elsewhere) if passed_on.is_some() => {
                    return Err(Refusal::NotLeader.into());
                }
                Err(Error::Elsewhere) => {}
                Err(Error::Status(status)) if passed_on.is_none() && is(&status, CHANGED) => {
                    again = true;
                }
                Err(Error::Status(status)) => return Err(status),
                Ok(answer) => return Ok(answer),
            }
            if let Some(leader) = self.leader().await {
                let attempt = MetadataValue::from_static(if again { AGAIN } else { FIRST });
                let mut passed = Request::new(request.clone());
                passed.metadata_mut().insert(PASSED_ON, attempt);
                let answer = timeout(PASS_ON_TIMEOUT, pass_on(leader, passed)).await;
                match answer.unwrap_or_else(|_| Err(Refusal::TimedOut.into())) {
                    Err(status) if is(&status, Refusal::NotLeader) => {}
                    Err(status) if is(&status, CHANGED) => again = true,
                    Err(status) => return Err(answered(&status)),
                    Ok(answer) => {
                        // The list that the client asks this member for next has the change.
                        let _ = timeout(FOLLOW_TIMEOUT, self.member.barrier()).await;
                        return Ok(answer);
                    }
                }
            }
            patience.wait().await?;
        }
    }

    /// A connection to the leader's client port, if there is another leader and it accepts.
    async fn leader(&self) -> Option<ClusterClient<Channel>> {
        let standing = self.member.engine.standing();
        let leader = standing.leader.filter(|leader| *leader != standing.node)?;
        let members = self.member.engine.members();
        let member = members.iter().find(|member| member.node == leader)?;
        let url = MemberAddresses::decode(&member.metadata).ok()?.client_url;
        let (ask_after, answer_within) = KEEP_ALIVE;
        let endpoint = Endpoint::from_shared(url)
            .ok()?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(ask_after)
            .keep_alive_timeout(answer_within)
            .keep_alive_while_idle(true);
        Some(ClusterClient::new(endpoint.connect().await.ok()?))
    }
}

/// The refusal after which a request is carried out again, at the next leader.
const CHANGED: Refusal = Refusal::LeaderChanged;

fn is(status: &Status, refusal: Refusal) -> bool {
    status.message() == refusal.to_string()
}

fn missing() -> Result<Edit, Error> {
    Err(Refusal::MemberNotFound.into())
}

/// The target of a change that an earlier attempt has made.
fn unchanged(now: &Membership, node: NodeId) -> Edited {
    let target = Membership::new(now.target()).expect("a part of a sound membership is sound");
    Edited { target, added: Some(node) }
}

/// The leader's answer, or etcd's text for a connection that broke: the outcome is unknown then.
fn answered(status: &Status) -> Status {
    match std::error::Error::source(status) {
        Some(_) => Refusal::TimedOut.into(),
        None => Status::new(status.code(), status.message()),
    }
}

/// Why a request is not carried out here.
enum Error {
    /// This member does not lead.
    Elsewhere,
    Status(Status),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Status(refusal.into())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let refusal = match &failure {
            Failure::NotLeader
            | Failure::Change(ChangeError::Refused(ChangeRefusal::NotLeader { .. })) => {
                return Error::Elsewhere;
            }
            Failure::Edit(EditError::NotAMember(_)) => Refusal::MemberNotFound,
            Failure::Edit(EditError::BadUrl(_)) => Refusal::BadMemberUrls,
            Failure::Edit(EditError::PeerUrlExists(_)) => Refusal::PeerUrlExists,
            Failure::Edit(EditError::Unsound(MembershipError::NoVoters))
            | Failure::Change(
                ChangeError::NotConnected(_)
                | ChangeError::OlderProgram(_)
                | ChangeError::Refused(ChangeRefusal::VoterSilent(_)),
            ) => Refusal::NotEnoughStarted,
            Failure::Change(
                ChangeError::NoProgress(_)
                | ChangeError::TooSlow(_)
                | ChangeError::Refused(ChangeRefusal::VoterNotReady(_)),
            ) => Refusal::LearnerNotReady,
            Failure::Change(ChangeError::LeaderChanged { .. }) => Refusal::LeaderChanged,
            Failure::Change(ChangeError::Unfinished) => Refusal::Unhealthy,
            Failure::Change(ChangeError::Closed) => Refusal::Stopped,
            Failure::Change(ChangeError::Refused(ChangeRefusal::UnderWay)) => {
                Refusal::TooManyRequests
            }
            Failure::Edit(_) | Failure::Change(_) => {
                let text = format!("kontiki: {failure}");
                return Error::Status(Status::new(Code::FailedPrecondition, text));
            }
        };
        refusal.into()
    }
}

fn edited(now: &Membership, edit: Edit) -> Result<Edited, Error> {
    edit::apply(now, &[edit]).map_err(|error| Failure::Edit(error).into())
}

/// A member has one peer URL here, where etcd allows several.
fn only_url(urls: &[String]) -> Result<String, Error> {
    match urls {
        [url] if edit::check_url(url).is_ok() => Ok(url.clone()),
        _ => Err(Refusal::BadMemberUrls.into()),
    }
}

fn to_members(membership: &Membership) -> Vec<Member> {
    let member = |node| ClusterMember {
        node,
        learner: !membership.is_voter(node),
        metadata: membership.metadata(node).cloned().unwrap_or_default(),
    };
    membership.members().map(|node| to_answer(&member(node))).collect()
}

/// A member whose metadata another program wrote is listed without addresses. One that was not
/// started yet has no name and no client URL, as in etcd.
fn to_answer(member: &ClusterMember) -> Member {
    let addresses = MemberAddresses::decode(&member.metadata).unwrap_or_default();
    let urls = |url: String| if url.is_empty() { Vec::new() } else { vec![url] };
    Member {
        id: member.node.get(),
        name: addresses.name,
        peer_urls: urls(addresses.peer_url),
        client_urls: urls(addresses.client_url),
        is_learner: member.learner,
    }
}
