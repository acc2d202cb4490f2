//! Once faults stop, the cluster must converge: one leader, equal logs, equal state machines, and
//! no waiting client.
//!
//! A cluster that does nothing breaks no safety law. So each run ends with a calm phase, in which
//! all of this must hold within a bounded time.

use raft_core::consensus::{RoleName, Status};
use raft_core::types::LogIndex;

use super::{Check, Violation};

/// The state of one member.
#[derive(Clone, Debug)]
pub struct View {
    /// The status of its core.
    pub status: Status,
    /// The last index that its state machine has applied.
    pub applied: LogIndex,
    /// The hash over all commands that its state machine has applied.
    pub machine: u64,
    /// The hash over the engine's own state.
    pub engine: u64,
    /// Whether a write is in flight.
    pub is_writing: bool,
    /// Whether a client waits for an answer from it.
    pub is_waited_for: bool,
    /// Whether a command holds a share of its quota of waiting proposals.
    pub holds_quota: bool,
}

/// Returns why the cluster is not at rest, or `None` if it is.
pub fn why_not_at_rest(views: &[View]) -> Option<String> {
    let leaders = views.iter().filter(|view| view.status.soft_state.role == RoleName::Leader);
    let leaders: Vec<_> = leaders.map(|view| view.status.id).collect();
    let [leader] = leaders[..] else { return Some(format!("leaders: {leaders:?}")) };
    let membership = views.iter().find_map(|view| view.status.membership.as_ref());
    if membership.is_some_and(|membership| membership.is_joint()) {
        return Some(format!("a change has not ended: {membership:?}"));
    }
    let first = &views[0];
    views.iter().find_map(|view| {
        let Status { id, soft_state, commit, last, durable, .. } = &view.status;
        let facts = [
            (soft_state.leader == Some(leader), "follows another"),
            (soft_state.term == first.status.soft_state.term, "is in another term"),
            (*last == first.status.last, "has another log"),
            (*commit == last.index, "has not committed everything"),
            (*durable == last.index, "has not written everything"),
            (view.applied == *commit, "has not applied everything"),
            (!view.is_writing, "is writing"),
            (!view.is_waited_for, "keeps a client waiting"),
            (!view.holds_quota, "has not released all quota"),
        ];
        let broken = facts.iter().find(|(holds, _)| !holds);
        broken.map(|(_, why)| format!("{id} {why}: {:?}", view.status))
    })
}

/// Checks that the state machines of members that have applied the same log are equal.
pub fn check_machines(views: &[View]) -> Result<(), Violation> {
    if let Some(other) = views.iter().find(|view| view.engine != views[0].engine) {
        let (one, other) = (views[0].status.id, other.status.id);
        let what = format!("the sessions of {one} and {other} differ once the cluster is idle");
        return Err(Violation::new(Check::ExactlyOnce, what));
    }
    match views.iter().find(|view| view.machine != views[0].machine) {
        None => Ok(()),
        Some(other) => {
            let one = views[0].status.id;
            let other = other.status.id;
            let what =
                format!("the state machines of {one} and {other} differ once the cluster is idle");
            Err(Violation::new(Check::SameMachine, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_core::consensus::SoftState;
    use raft_core::types::{EntryId, NodeId, Term};

    use super::*;

    fn view(number: u64, role: RoleName) -> View {
        let term = Term::new(3);
        let index = LogIndex::new(7);
        let status = Status {
            id: NodeId::new(number).expect("not zero"),
            soft_state: SoftState { role, term, leader: NodeId::new(1) },
            vote: None,
            commit: index,
            applicable: index,
            last: EntryId::new(term, index),
            durable: index,
            boundary: EntryId::ZERO,
            membership: None,
            membership_index: LogIndex::ZERO,
            peers: Vec::new(),
            transfer: None,
            disk_stalled: false,
        };
        View {
            status,
            applied: index,
            machine: 5,
            engine: 5,
            is_writing: false,
            is_waited_for: false,
            holds_quota: false,
        }
    }

    #[test]
    fn the_difference_between_members_is_named() {
        let mut views = [view(1, RoleName::Leader), view(2, RoleName::Follower)];
        assert_eq!(why_not_at_rest(&views), None);
        assert_eq!(check_machines(&views), Ok(()));
        views[1].applied = LogIndex::new(6);
        assert!(
            why_not_at_rest(&views).is_some_and(|why| why.contains("2 has not applied everything"))
        );
        views[1] = view(2, RoleName::Leader);
        assert!(why_not_at_rest(&views).is_some_and(|why| why.contains("leaders")));
        views[1].machine = 6;
        assert!(check_machines(&views).is_err());
        (views[1].machine, views[1].engine) = (5, 6);
        assert!(check_machines(&views).is_err());
    }
}
