//! Makes voters of the learners that are to vote, once they have received the log.
//!
//! etcd's `MemberAdd` names a voter that is not started yet. Here it becomes a learner, and its
//! metadata says that it is to vote ([`MemberAddresses::votes_soon`](crate::MemberAddresses)), so
//! each next leader knows it, too. The leader looks for such learners from time to time; it does
//! not begin a change for one that is not started or far behind, since that change would hold up
//! others. A change that fails is tried again.

use std::time::Duration;

use kontiki::{Membership, NodeId};
use tokio::time::sleep;

use crate::addresses::MemberAddresses;
use crate::engine::Engine;
use crate::member::SharedMember;

use super::edit::{self, Edit};
use super::{Failure, base, change, is_in_sync};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// Runs until the server is dropped.
pub(crate) async fn run<E: Engine>(member: SharedMember<E>) {
    loop {
        sleep(PAUSE).await;
        let engine = &member.engine;
        let Ok(now) = base(engine) else { continue };
        let Some(node) = due(&now).find(|node| is_in_sync(engine, *node)) else { continue };
        let promoted =
            change::<E, Failure>(engine, |now| Ok(edit::apply(now, &[Edit::Promote(node)])?));
        match promoted.await {
            Ok(_) => tracing::info!(%node, "the new member has the log, and votes now"),
            Err(error) => tracing::warn!(%node, %error, "the new member cannot vote yet"),
        }
    }
}

/// The learners that are to vote.
fn due(now: &Membership) -> impl Iterator<Item = NodeId> {
    let votes_soon = |node: &NodeId| {
        let addresses = now.metadata(*node).map(|data| MemberAddresses::decode(data));
        now.is_learner(*node) && addresses.is_some_and(|one| one.is_ok_and(|one| one.votes_soon))
    };
    now.members().filter(votes_soon)
}
