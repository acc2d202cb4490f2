//! Makes voters of the learners that are to vote, once they have received the log.
//!
//! etcd's `MemberAdd` names a voter that is not started yet. Here it becomes a learner, and its
//! metadata says that it is to vote ([`MemberAddresses::votes_soon`](crate::MemberAddresses)), so
//! each next leader knows it, too. The leader looks for such learners from time to time; it does
//! not begin a change for one that is not started or far behind, since that change would hold up
//! others. A change that fails is tried again, after those for the other learners.

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
    let mut failed = None;
    loop {
        sleep(PAUSE).await;
        let engine = &member.engine;
        let Ok(now) = base(engine) else { continue };
        let mut due = in_turn(due(&now), failed).into_iter();
        let Some(node) = due.find(|node| is_in_sync(engine, *node)) else { continue };
        let promoted =
            change::<E, Failure>(engine, |now| Ok(edit::apply(now, &[Edit::Promote(node)])?));
        match promoted.await {
            Ok(_) => tracing::info!(%node, "the new member has the log, and votes now"),
            Err(error) => {
                failed = Some(node);
                tracing::warn!(%node, %error, "the new member cannot vote yet");
            }
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

/// These nodes in the order in which they are tried: first those after the one that failed last.
fn in_turn(nodes: impl Iterator<Item = NodeId>, failed: Option<NodeId>) -> Vec<NodeId> {
    let (mut tried, mut others) = (Vec::new(), Vec::new());
    for node in nodes {
        if Some(node) <= failed { tried.push(node) } else { others.push(node) }
    }
    others.append(&mut tried);
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What went wrong: a learner whose promotion failed was tried again and again, and the ones
    /// after it never.
    #[test]
    fn a_learner_that_fails_is_tried_again_after_the_others() {
        let nodes = |ids: [u64; 3]| ids.map(|id| NodeId::new(id).expect("not zero"));
        let all = nodes([4, 5, 6]);
        assert_eq!(in_turn(all.into_iter(), None), all);
        assert_eq!(in_turn(all.into_iter(), Some(all[0])), nodes([5, 6, 4]));
        assert_eq!(in_turn(all.into_iter(), Some(all[2])), all);
    }
}
