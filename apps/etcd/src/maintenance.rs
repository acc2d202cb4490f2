//! The Maintenance service: the state of a member, and the alarms of the cluster.

use tonic::{Request, Response, Status};

use crate::api::etcdserverpb::alarm_request::AlarmAction;
use crate::api::etcdserverpb::maintenance_server::Maintenance;
use crate::api::etcdserverpb::{
    AlarmRequest, AlarmResponse, AlarmType, StatusRequest, StatusResponse,
};
use crate::command::Command;
use crate::engine::{Engine, Role};
use crate::errors::Refusal;
use crate::machine::{Outcome, decode_answer};
use crate::member::SharedMember;

/// The version of etcd whose API and behaviour this server has. Clients choose their requests by
/// it, and the comparison with a real server uses this version.
pub const ETCD_VERSION: &str = "3.4.23";

/// The size that an empty store reports. An empty database file of etcd has about this size, and a
/// client would show a size of 0 as no size.
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
        let request = request.into_inner();
        if request.alarm == AlarmType::Corrupt as i32 {
            let text = "the alarm CORRUPT is not known: a member whose data is damaged stops";
            return Err(Status::unimplemented(text));
        }
        if request.action == AlarmAction::Get as i32 {
            // etcd replicates even this query. A barrier also shows that the cluster has a leader.
            self.member.barrier().await?;
            return Ok(Response::new(self.member.store.now().alarms().list(request.alarm)));
        }
        let answer = self.member.propose(Command::Alarm(request).encode()?).await?;
        match decode_answer(&answer)? {
            Outcome::Done(response) => Ok(Response::new(response)),
            Outcome::Deferred(_) => panic!("the machine deferred a range of an alarm"),
        }
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        self.member.admit(request.metadata())?;
        let standing = self.member.engine.standing();
        let mut header = None;
        self.member.fill(&mut header);
        let size = (EMPTY_SIZE + self.member.store.now().read().size()) as i64;
        let mut errors = Vec::new();
        if standing.leader.is_none() {
            errors.push(Refusal::NoLeader.to_string());
        }
        errors.extend(self.member.store.now().alarms().in_words());
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
