//! The Cluster service: the list of members. Absent: changing it, which the engine cannot do yet.

use tonic::{Request, Response, Status};

use crate::addresses::MemberAddresses;
use crate::api::etcdserverpb::cluster_server::Cluster;
use crate::api::etcdserverpb::{Member, MemberListRequest, MemberListResponse, ResponseHeader};
use crate::engine::{ClusterMember, Engine};
use crate::member::SharedMember;

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
        let standing = self.member.engine.standing();
        // etcd leaves the revision out of this header.
        let header = ResponseHeader {
            cluster_id: standing.cluster.0,
            member_id: standing.node.get(),
            raft_term: standing.term.get(),
            revision: 0,
        };
        let members = self.member.engine.members().iter().map(to_answer).collect();
        Ok(Response::new(MemberListResponse { header: Some(header), members }))
    }
}

/// A member whose metadata another program wrote is listed without addresses.
fn to_answer(member: &ClusterMember) -> Member {
    let (name, peer_urls, client_urls) = match MemberAddresses::decode(&member.metadata) {
        Ok(addresses) => (addresses.name, vec![addresses.peer_url], vec![addresses.client_url]),
        Err(_) => (String::new(), Vec::new(), Vec::new()),
    };
    Member { id: member.node.get(), name, peer_urls, client_urls, is_learner: member.learner }
}
