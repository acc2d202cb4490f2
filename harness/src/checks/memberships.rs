//! Memberships: which sets of members decide, and how one membership may follow another (L17).
//!
//! Both are written again here, from the paper and not from the core, so that a mistake in the core
//! is not repeated in its check.

use raft_core::types::{Membership, NodeId};

/// Whether the members for which `holds` is true are a majority of each half of the voters.
pub fn decides(membership: &Membership, holds: impl Fn(NodeId) -> bool) -> bool {
    membership.halves().all(|half| {
        let count = half.iter().filter(|node| holds(**node)).count();
        2 * count > half.len()
    })
}

/// Whether a membership may follow another one directly. If the voters change, a joint membership
/// comes between, and only the membership that leaves it follows that one.
pub fn may_follow(before: &Membership, next: &Membership) -> bool {
    let old = before.parts();
    let new = next.parts();
    if before.is_joint() {
        !next.is_joint() && old.voters == new.voters
    } else if next.is_joint() {
        new.outgoing == old.voters
    } else {
        new.voters == old.voters
    }
}

#[cfg(test)]
mod tests {
    use raft_core::types::MembershipParts;

    use super::*;

    fn of(voters: &[u64], outgoing: &[u64]) -> Membership {
        let nodes = |list: &[u64]| list.iter().copied().filter_map(NodeId::new).collect();
        let (voters, outgoing) = (nodes(voters), nodes(outgoing));
        let parts = MembershipParts { voters, outgoing, ..MembershipParts::default() };
        Membership::new(parts).expect("sound")
    }

    #[test]
    fn both_halves_decide() {
        let joint = of(&[1, 4, 5], &[1, 2, 3]);
        let decided = |nodes: &[u64]| decides(&joint, |node| nodes.contains(&node.get()));
        assert!(decided(&[1, 2, 4]) && decided(&[2, 3, 4, 5]));
        assert!(!decided(&[1, 2, 3]) && !decided(&[1, 4, 5]) && !decided(&[2, 4]));
        assert!(!decides(&of(&[1, 2], &[]), |node| node.get() == 1));
    }

    #[test]
    fn voters_change_through_a_joint_membership_only() {
        let (old, new) = (of(&[1, 2, 3], &[]), of(&[1, 2, 4], &[]));
        let joint = of(&[1, 2, 4], &[1, 2, 3]);
        assert!(!may_follow(&old, &new));
        assert!(may_follow(&old, &joint) && may_follow(&joint, &new));
        assert!(!may_follow(&joint, &old) && !may_follow(&joint, &of(&[1, 5], &[1, 2, 4])));
        assert!(!may_follow(&new, &joint));
        assert!(may_follow(&old, &old));
    }
}
