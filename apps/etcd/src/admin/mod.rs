//! The Admin service: what Kontiki's own tools ask a member. [`changes`] has what concerns the
//! membership, and [`events`] the stream of events.

mod changes;
mod events;

use std::time::Instant;

use tonic::{Code, Request, Response, Status};

use crate::addresses::MemberAddresses;
use crate::api::kontiki::v1::admin_server::Admin;
use crate::api::kontiki::v1::{
    AdminCancelChangeRequest, AdminCancelChangeResponse, AdminChangeRequest, AdminChangeResponse,
    AdminEventsRequest, AdminJoinRequest, AdminJoinResponse, AdminMember, AdminPlan, AdminSnapshot,
    AdminSnapshotRequest, AdminSnapshotResponse, AdminStatusRequest, AdminStatusResponse,
    AdminTransferRequest, AdminTransferResponse,
};
use crate::engine::{ClusterMember, Engine, SnapshotError, TakenSnapshot};
use crate::member::SharedMember;

/// The service.
pub(crate) struct AdminService<E> {
    pub(crate) member: SharedMember<E>,
}

#[tonic::async_trait]
impl<E: Engine> Admin for AdminService<E> {
    async fn status(
        &self,
        _request: Request<AdminStatusRequest>,
    ) -> Result<Response<AdminStatusResponse>, Status> {
        let standing = self.member.engine.standing();
        let profile = &self.member.profile;
        let membership = self.member.engine.membership();
        Ok(Response::new(AdminStatusResponse {
            id: standing.node.get(),
            name: profile.name.clone(),
            cluster_id: standing.cluster.0,
            role: standing.role.to_string(),
            term: standing.term.get(),
            leader: standing.leader.map_or(0, |leader| leader.get()),
            commit: standing.commit.get(),
            applied: standing.applied.get(),
            last: standing.last.get(),
            durable: standing.durable.get(),
            backend: profile.backend.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            members: self.member.engine.members().iter().map(to_answer).collect(),
            snapshot: standing.snapshot.map(to_message),
            change: membership.change.as_ref().map(changes::to_message),
            peers: membership.peers.iter().map(changes::peer).collect(),
        }))
    }

    async fn transfer(
        &self,
        request: Request<AdminTransferRequest>,
    ) -> Result<Response<AdminTransferResponse>, Status> {
        Ok(Response::new(changes::transfer(&self.member.engine, request.into_inner().to).await?))
    }

    type EventsStream = events::Events;

    async fn events(
        &self,
        _request: Request<AdminEventsRequest>,
    ) -> Result<Response<events::Events>, Status> {
        Ok(Response::new(events::of(self.member.clone())))
    }

    async fn join(
        &self,
        request: Request<AdminJoinRequest>,
    ) -> Result<Response<AdminJoinResponse>, Status> {
        Ok(Response::new(changes::join(&self.member.engine, request.into_inner()).await?))
    }

    async fn plan(
        &self,
        request: Request<AdminChangeRequest>,
    ) -> Result<Response<AdminPlan>, Status> {
        Ok(Response::new(changes::plan(&self.member.engine, &request.into_inner())?))
    }

    async fn change(
        &self,
        request: Request<AdminChangeRequest>,
    ) -> Result<Response<AdminChangeResponse>, Status> {
        Ok(Response::new(changes::change(&self.member.engine, &request.into_inner()).await?))
    }

    async fn cancel_change(
        &self,
        _request: Request<AdminCancelChangeRequest>,
    ) -> Result<Response<AdminCancelChangeResponse>, Status> {
        self.member.engine.cancel_change();
        Ok(Response::new(AdminCancelChangeResponse {}))
    }

    async fn snapshot(
        &self,
        _request: Request<AdminSnapshotRequest>,
    ) -> Result<Response<AdminSnapshotResponse>, Status> {
        let (engine, begin) = (&self.member.engine, Instant::now());
        let before = engine.standing().snapshot;
        let taken = engine.snapshot().await.map_err(|error| to_status(&error))?;
        Ok(Response::new(AdminSnapshotResponse {
            id: engine.standing().node.get(),
            snapshot: Some(to_message(taken)),
            was_there: before == Some(taken),
            microseconds: begin.elapsed().as_micros() as u64,
        }))
    }
}

fn to_message(snapshot: TakenSnapshot) -> AdminSnapshot {
    let TakenSnapshot { last, bytes, .. } = snapshot;
    AdminSnapshot { index: last.index.get(), term: last.term.get(), bytes }
}

fn to_status(error: &SnapshotError) -> Status {
    let code = match error {
        SnapshotError::Unsupported | SnapshotError::NothingApplied => Code::FailedPrecondition,
        SnapshotError::Busy => Code::ResourceExhausted,
        SnapshotError::Closed => Code::Unavailable,
        _ => Code::Internal,
    };
    Status::new(code, error.to_string())
}

fn to_answer(member: &ClusterMember) -> AdminMember {
    let addresses = MemberAddresses::decode(&member.metadata).unwrap_or_default();
    AdminMember {
        id: member.node.get(),
        learner: member.learner,
        name: addresses.name,
        peer_url: addresses.peer_url,
        client_url: addresses.client_url,
    }
}
