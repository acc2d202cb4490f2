//! The Maintenance service: the state of a member, and the list of alarms, which is always empty:
//! there is no quota to exceed here, and a member whose data is damaged stops.

use tonic::{Request, Response, Status};

use crate::api::etcdserverpb::alarm_request::AlarmAction;
use crate::api::etcdserverpb::maintenance_server::Maintenance;
use crate::api::etcdserverpb::{AlarmRequest, AlarmResponse, StatusRequest, StatusResponse};
use crate::engine::{Engine, Role};
use crate::errors::Refusal;
use crate::member::SharedMember;

/// The version of etcd whose API and behaviour this server has: clients decide by it what they may
/// ask for, and the comparison with a real server is made against this version.
pub const ETCD_VERSION: &str = "3.4.23";

/// What an empty store says of its size. An empty file of etcd's database has about as much, and a
/// client would show a size of 0 as none at all.
const EMPTY_SIZE: u64 = 20 * 1024;

/// The service.
pub(crate) struct MaintenanceService<E> {
    pub(crate) member: SharedMember<E>,
}

#[tonic::async_trait]
impl<E: Engine> Maintenance for MaintenanceService<E> {
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        self.member.admit(request.metadata())?;
        if request.get_ref().action == AlarmAction::Activate as i32 {
            return Err(Status::unimplemented("alarms cannot be activated"));
        }
        // etcd replicates even the question; a barrier shows as well that the cluster decides.
        self.member.barrier().await?;
        Ok(Response::new(AlarmResponse::default()))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        self.member.admit(request.metadata())?;
        let standing = self.member.engine.standing();
        let mut header = None;
        self.member.fill(&mut header);
        let size = (EMPTY_SIZE + self.member.store.read().size()) as i64;
        let errors = match standing.leader {
            Some(_) => Vec::new(),
            None => vec![Refusal::NoLeader.to_string()],
        };
        Ok(Response::new(StatusResponse {
            header,
            version: ETCD_VERSION.to_owned(),
            db_size: size,
            leader: standing.leader.map_or(0, |leader| leader.get()),
            raft_index: standing.commit.get(),
            raft_term: standing.term.get(),
            raft_applied_index: standing.applied.get(),
            errors,
            db_size_in_use: size,
            is_learner: standing.role == Role::Learner,
        }))
    }
}
