//! The Admin service: the status of a member for Kontiki's own tools.

use tonic::{Request, Response, Status};

use crate::addresses::MemberAddresses;
use crate::api::kontiki::v1::admin_server::Admin;
use crate::api::kontiki::v1::{AdminMember, AdminStatusRequest, AdminStatusResponse};
use crate::engine::{ClusterMember, Engine};
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
        }))
    }
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
