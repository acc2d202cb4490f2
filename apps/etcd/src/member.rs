//! The state that all services of a member share: the engine, the key space, and answer headers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tonic::metadata::MetadataMap;

use crate::alarms::needed_bytes;
use crate::answer::Answers;
use crate::api::etcdserverpb::alarm_request::AlarmAction;
use crate::api::etcdserverpb::{AlarmRequest, AlarmType, ResponseHeader};
use crate::command::Command;
use crate::engine::{Engine, ProposeError, ReadError};
use crate::errors::Refusal;
use crate::limits::ServerLimits;
use crate::shared::SharedStore;

/// How long a request waits for a leader; the same time as in etcd.
const LEADER_WAIT: Duration = Duration::from_secs(7);

/// How long a request waits before it is retried.
const LEADER_PAUSE: Duration = Duration::from_millis(10);

/// The metadata with which a client requires a member without a leader to refuse the request.
const REQUIRE_LEADER: (&str, &[u8]) = ("hasleader", b"true");

/// Properties of a member that the engine does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Its name, for display.
    pub name: String,
    /// The kind of its log: `file`, `memory` and the like.
    pub backend: String,
}

/// A member, as seen from its services.
pub(crate) struct Member<E> {
    pub(crate) engine: E,
    pub(crate) store: SharedStore,
    pub(crate) profile: Profile,
    pub(crate) answers: Answers,
    quota_bytes: u64,
    /// Whether a barrier has been passed since the start.
    is_caught_up: AtomicBool,
}

/// The shared handle that each service holds.
pub(crate) type SharedMember<E> = Arc<Member<E>>;

impl<E: Engine> Member<E> {
    pub(crate) fn new(
        engine: E,
        store: SharedStore,
        profile: Profile,
        limits: &ServerLimits,
    ) -> SharedMember<E> {
        let answers = Answers::new(store.clone(), limits.answer_bytes);
        let quota_bytes = limits.quota_bytes;
        let is_caught_up = AtomicBool::new(false);
        Arc::new(Member { engine, store, profile, answers, quota_bytes, is_caught_up })
    }

    /// Refuses a command for which the key space has no space, and raises the alarm that makes
    /// every member refuse such commands until it is disarmed. The key space exceeds its quota by
    /// no more than the commands that are in progress at that moment.
    pub(crate) async fn check_quota(&self, command: &Command) -> Result<(), Refusal> {
        let needed = needed_bytes(command);
        if needed == 0 || self.store.now().read().size().saturating_add(needed) <= self.quota_bytes
        {
            return Ok(());
        }
        if self.store.now().alarms().is_full() {
            // The alarm is already raised; proposing it again would make the log grow with each
            // refusal.
            return Err(Refusal::NoSpace);
        }
        let member_id = self.engine.standing().node.get();
        let (action, alarm) = (AlarmAction::Activate as i32, AlarmType::Nospace as i32);
        let raise = Command::Alarm(AlarmRequest { action, member_id, alarm });
        tracing::warn!(quota = self.quota_bytes, "the key space has outgrown its quota");
        self.propose(raise.encode()?).await?;
        Err(Refusal::NoSpace)
    }

    /// Completes a header with the member that answers, and with the newest revision if it has
    /// none.
    pub(crate) fn fill(&self, header: &mut Option<ResponseHeader>) {
        let header = header.get_or_insert_default();
        let standing = self.engine.standing();
        header.cluster_id = standing.cluster.0;
        header.member_id = standing.node.get();
        header.raft_term = standing.term.get();
        if header.revision == 0 {
            header.revision = self.store.now().read().revision();
        }
    }

    /// Refuses a request that requires a leader if none is known.
    pub(crate) fn admit(&self, metadata: &MetadataMap) -> Result<(), Refusal> {
        let (name, wanted) = REQUIRE_LEADER;
        let requires = metadata.get(name).is_some_and(|value| value.as_bytes() == wanted);
        if requires && self.engine.standing().leader.is_none() {
            return Err(Refusal::NoLeader);
        }
        Ok(())
    }

    /// Replicates a command and returns the machine's answer. If there is no leader, nothing has
    /// happened, so the request waits for one, as in etcd. It does the same if another leader's
    /// entry took the command's place.
    pub(crate) async fn propose(&self, command: Bytes) -> Result<Bytes, Refusal> {
        let patience = Patience::begin();
        loop {
            match self.engine.propose(command.clone()).await {
                Err(ProposeError::NotLeader { .. } | ProposeError::Lost) => patience.wait().await?,
                outcome => return outcome.map_err(Refusal::from),
            }
        }
    }

    /// Waits until this member has applied everything that was committed before the call.
    pub(crate) async fn barrier(&self) -> Result<(), Refusal> {
        let patience = Patience::begin();
        loop {
            match self.engine.barrier().await {
                Err(ReadError::NotLeader { .. }) => patience.wait().await?,
                outcome => {
                    outcome?;
                    self.is_caught_up.store(true, Ordering::Relaxed);
                    return Ok(());
                }
            }
        }
    }

    /// Waits until this member's key space may be read without a barrier. After a start the key
    /// space is empty until the log has been applied again, and a client must not read older values
    /// than it read before. So one barrier has to pass first.
    pub(crate) async fn catch_up(&self) -> Result<(), Refusal> {
        if self.is_caught_up.load(Ordering::Relaxed) { Ok(()) } else { self.barrier().await }
    }
}

/// Measures how long a request has waited for a leader.
pub(crate) struct Patience {
    ends: Instant,
}

impl Patience {
    pub(crate) fn begin() -> Patience {
        Patience { ends: Instant::now() + LEADER_WAIT }
    }

    /// Waits a little, unless the request has waited long enough.
    pub(crate) async fn wait(&self) -> Result<(), Refusal> {
        if Instant::now() >= self.ends {
            return Err(Refusal::NoLeader);
        }
        sleep(LEADER_PAUSE).await;
        Ok(())
    }
}
