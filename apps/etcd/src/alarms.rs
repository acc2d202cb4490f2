//! The alarms of the cluster: replicated, so that every member refuses the same requests.
//!
//! There is one kind, NOSPACE. A member raises it when its key space outgrows its quota. While it
//! is raised, no command that puts a key is carried out. An operator compacts or deletes, and
//! disarms it. etcd's other kind, CORRUPT, is never raised: a member whose data is damaged stops.

use std::collections::BTreeSet;

use crate::api::etcdserverpb::alarm_request::AlarmAction;
use crate::api::etcdserverpb::request_op::Request;
use crate::api::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, RequestOp, TxnRequest,
};
use crate::command::Command;
use crate::errors::Refusal;

/// The bytes that etcd adds to each put when it checks whether there is space for it.
const PUT_OVERHEAD_BYTES: u64 = 512;

/// The alarms that are raised.
#[derive(Clone, Debug, Default)]
pub struct Alarms {
    /// Each alarm with the member that raised it.
    raised: BTreeSet<(u64, i32)>,
}

impl Alarms {
    /// Carries out a request to raise or disarm an alarm; returns the alarms that it changed, or
    /// raised again. A request that only lists alarms is answered too.
    pub fn apply(&mut self, request: &AlarmRequest) -> AlarmResponse {
        let alarm = (request.member_id, request.alarm);
        let answered = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => return self.list(request.alarm),
            Ok(AlarmAction::Activate) => {
                self.raised.insert(alarm);
                true
            }
            Ok(AlarmAction::Deactivate) => self.raised.remove(&alarm),
            Err(_) => false,
        };
        let alarms = if answered { vec![to_member(alarm)] } else { Vec::new() };
        AlarmResponse { alarms, ..AlarmResponse::default() }
    }

    /// The alarms of a kind; of all kinds for NONE.
    pub fn list(&self, kind: i32) -> AlarmResponse {
        let wanted = self.raised.iter().filter(|alarm| kind == 0 || alarm.1 == kind);
        let alarms = wanted.copied().map(to_member).collect();
        AlarmResponse { alarms, ..AlarmResponse::default() }
    }

    /// The raised alarms in order, each with the member that raised it before its kind.
    pub(crate) fn raised(&self) -> impl Iterator<Item = (u64, i32)> {
        self.raised.iter().copied()
    }

    /// Raises an alarm of a snapshot. Returns whether it was not raised already.
    pub(crate) fn raise(&mut self, alarm: (u64, i32)) -> bool {
        self.raised.insert(alarm)
    }

    /// Each raised alarm as etcd's status writes it.
    pub fn in_words(&self) -> Vec<String> {
        let kind = |kind| AlarmType::try_from(kind).map_or("", |kind| kind.as_str_name());
        let words =
            |(member, alarm): &(u64, i32)| format!("memberID:{member} alarm:{} ", kind(*alarm));
        self.raised.iter().map(words).collect()
    }

    /// Whether some member has no space.
    pub fn is_full(&self) -> bool {
        self.raised.iter().any(|alarm| alarm.1 == AlarmType::Nospace as i32)
    }

    /// Refuses a command that puts a key while the alarm is raised.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSpace`].
    pub fn admit(&self, command: &Command) -> Result<(), Refusal> {
        if self.is_full() && needed_bytes(command) > 0 { Err(Refusal::NoSpace) } else { Ok(()) }
    }
}

fn to_member((member_id, alarm): (u64, i32)) -> AlarmMember {
    AlarmMember { member_id, alarm }
}

/// About how many bytes a command adds to the key space, as etcd computes it: of the two branches
/// of a transaction, the one that puts more counts.
pub fn needed_bytes(command: &Command) -> u64 {
    match command {
        Command::Put(put) => PUT_OVERHEAD_BYTES + (put.key.len() + put.value.len()) as u64,
        Command::Txn(request) => needed_by_either(request),
        Command::Delete(_) | Command::Compact(_) | Command::Alarm(_) => 0,
    }
}

fn needed_by_either(request: &TxnRequest) -> u64 {
    let needed_by = |operations: &[RequestOp]| operations.iter().map(needed_by_one).sum::<u64>();
    needed_by(&request.success).max(needed_by(&request.failure))
}

fn needed_by_one(operation: &RequestOp) -> u64 {
    match &operation.request {
        Some(Request::RequestPut(put)) => {
            PUT_OVERHEAD_BYTES + (put.key.len() + put.value.len()) as u64
        }
        Some(Request::RequestTxn(inner)) => needed_by_either(inner),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::etcdserverpb::{DeleteRangeRequest, PutRequest};

    fn request(action: AlarmAction, member_id: u64) -> AlarmRequest {
        AlarmRequest { action: action as i32, member_id, alarm: AlarmType::Nospace as i32 }
    }

    #[test]
    fn a_full_key_space_accepts_deletions_but_no_puts_until_the_last_alarm_is_disarmed() {
        let put = Command::Put(PutRequest { key: "k".into(), ..PutRequest::default() });
        let operation = RequestOp { request: Some(Request::RequestPut(PutRequest::default())) };
        let txn = TxnRequest { failure: vec![operation], ..TxnRequest::default() };
        let delete = Command::Delete(DeleteRangeRequest::default());
        let mut alarms = Alarms::default();
        assert_eq!(alarms.admit(&put), Ok(()));
        for member in [1, 2, 2] {
            let answer = alarms.apply(&request(AlarmAction::Activate, member));
            assert_eq!(answer.alarms.len(), 1);
        }
        assert_eq!(alarms.admit(&put), Err(Refusal::NoSpace));
        assert_eq!(alarms.admit(&Command::Txn(txn)), Err(Refusal::NoSpace));
        assert_eq!(alarms.admit(&Command::Txn(TxnRequest::default())), Ok(()));
        assert_eq!(alarms.admit(&delete), Ok(()));
        assert_eq!(alarms.in_words(), ["memberID:1 alarm:NOSPACE ", "memberID:2 alarm:NOSPACE "]);
        alarms.apply(&request(AlarmAction::Deactivate, 1));
        assert_eq!(alarms.admit(&put), Err(Refusal::NoSpace));
        assert_eq!(alarms.apply(&request(AlarmAction::Deactivate, 1)).alarms, []);
        alarms.apply(&request(AlarmAction::Deactivate, 2));
        assert_eq!(alarms.admit(&put), Ok(()));
        assert_eq!(alarms.list(0).alarms, []);
    }
}
