//! Changes of the cluster's membership, for the Admin and the Cluster service.
//!
//! The leader makes them. A service computes the target of a change from the membership in force
//! ([`edit`]) and hands both to the engine, which refuses the target if another membership is in
//! force by then. So two changes that are asked for at once never undo each other: the second
//! target is computed again, and a new node gets an id that no other one has (decision 0240).

use std::sync::Arc;
use std::time::Duration;

use kontiki::consensus::{ChangeRefusal, PeerStatus};
use kontiki::types::LogIndex;
use kontiki::{ChangeError, Membership, NodeId};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::engine::{Engine, Role};

pub(crate) mod edit;
pub(crate) mod promotion;

use edit::{EditError, Edited};

/// How long a change waits for an earlier one to end.
const PATIENCE: Duration = Duration::from_secs(7);

/// The pause before a change is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// Why a change was not made, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Failure {
    /// This member does not lead.
    #[error("this member does not lead")]
    NotLeader,
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// The membership from which this member makes changes.
///
/// # Errors
/// [`Failure::NotLeader`].
pub(crate) fn base<E: Engine>(engine: &E) -> Result<Arc<Membership>, Failure> {
    let now = engine.membership().now.filter(|_| engine.standing().role == Role::Leader);
    now.ok_or(Failure::NotLeader)
}

/// Makes the change that `edit` wants of the membership in force, and waits until it is committed.
/// `edit` is asked again if another change was first.
pub(crate) async fn change<E: Engine, X: From<Failure>>(
    engine: &E,
    edit: impl Fn(&Membership) -> Result<Edited, X>,
) -> Result<(Arc<Membership>, Edited), X> {
    let until = Instant::now() + PATIENCE;
    loop {
        let from = base(engine)?;
        let edited = edit(&from)?;
        match engine.change(from, edited.target.clone()).await {
            Ok(now) => return Ok((now, edited)),
            Err(error) if must_wait(&error) && Instant::now() < until => sleep(PAUSE).await,
            Err(error) => return Err(Failure::Change(error).into()),
        }
    }
}

/// Whether a learner has received the log, as far as this leader knows, and still answers: etcd's
/// measure, nine tenths of what the leader has.
pub(crate) fn is_in_sync<E: Engine>(engine: &E, node: NodeId) -> bool {
    let (peers, last) = (engine.membership().peers, engine.standing().last);
    peers.iter().any(|peer| peer.id == node && has_log(peer, last))
}

fn has_log(peer: &PeerStatus, last: LogIndex) -> bool {
    let (matched, last) = (peer.matched.get(), last.get());
    peer.answers && !peer.needs_snapshot && matched > 0 && matched >= last - last / 10
}

/// Whether nothing has happened, and the same change can be asked for in a moment.
fn must_wait(error: &ChangeError) -> bool {
    matches!(
        error,
        ChangeError::OtherMembership
            | ChangeError::Refused(
                ChangeRefusal::UnderWay
                    | ChangeRefusal::TermNotCommitted
                    | ChangeRefusal::TransferUnderWay { .. }
            )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What went wrong: a dead learner counted as in sync, since what it has stored stays known.
    #[test]
    fn a_learner_that_fell_silent_is_not_in_sync() {
        let id = NodeId::new(4).expect("not zero");
        let (matched, next) = (LogIndex::new(90), LogIndex::new(91));
        let (needs_snapshot, is_voter, answers) = (false, false, true);
        let peer = PeerStatus { id, matched, next, needs_snapshot, is_voter, answers };
        assert!(has_log(&peer, LogIndex::new(100)));
        assert!(!has_log(&peer, LogIndex::new(110)));
        assert!(!has_log(&PeerStatus { answers: false, ..peer }, LogIndex::new(90)));
    }
}
