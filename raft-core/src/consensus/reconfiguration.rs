//! How a membership becomes another one, as pure functions.
//!
//! Section 6 of the paper (K21). If the voters differ, the change takes two steps, each an entry of
//! the log: a joint membership, in which each decision needs a majority of the old and of the new
//! voters, and then the target. So two consecutive memberships never decide independently: any sets
//! of voters that decide in each of them share a voter. If only learners, metadata or stores
//! differ, one step suffices, since no majority changes.
//!
//! Deliberately absent: whether a step may be taken now, which `membership` checks.

use alloc::collections::BTreeMap;

use super::refusal::ChangeRefusal;
use crate::types::{Membership, MembershipParts, NodeId, StoreId};

/// The membership that comes next on the way from `now` to `target`: a joint one if the voters
/// differ, else the target.
pub(super) fn first_step(
    now: &Membership,
    target: &Membership,
) -> Result<Membership, ChangeRefusal> {
    if target.is_joint() {
        return Err(ChangeRefusal::TargetIsJoint);
    }
    check_ids(now, target)?;
    let mut parts = target.parts().clone();
    parts.stores = stores(now, target)?;
    parts.highest = Some(now.highest().max(target.highest()));
    if target.parts().voters != now.parts().voters {
        keep_outgoing(&mut parts, now);
    }
    let next = Membership::new(parts).map_err(ChangeRefusal::Unsound)?;
    if next == *now { Err(ChangeRefusal::Unchanged) } else { Ok(next) }
}

/// A node id is never used again, because other members may still know a removed node by it.
fn check_ids(now: &Membership, target: &Membership) -> Result<(), ChangeRefusal> {
    let is_used = |node: &NodeId| !now.contains(*node) && *node <= now.highest();
    match target.members().find(is_used) {
        Some(node) => Err(ChangeRefusal::NodeIdUsed(node)),
        None => Ok(()),
    }
}

/// The stores of the target's members. A known store is kept. A target that names another store for
/// a member is refused: a node with another store has lost its votes, and needs a new node id.
fn stores(
    now: &Membership,
    target: &Membership,
) -> Result<BTreeMap<NodeId, StoreId>, ChangeRefusal> {
    let mut stores = target.parts().stores.clone();
    for node in target.members() {
        let Some(known) = now.store(node) else { continue };
        if *stores.entry(node).or_insert(known) != known {
            return Err(ChangeRefusal::OtherStore(node));
        }
    }
    Ok(stores)
}

/// Adds the voters of `now` as those that are being left, with what is known of them.
fn keep_outgoing(parts: &mut MembershipParts, now: &Membership) {
    parts.outgoing = now.parts().voters.clone();
    let left = |node: &NodeId| !parts.voters.contains(node) && !parts.learners.contains(node);
    for node in now.parts().voters.iter().copied().filter(left) {
        parts.metadata.extend(now.metadata(node).map(|metadata| (node, metadata.clone())));
        parts.stores.extend(now.store(node).map(|store| (node, store)));
    }
}

/// The membership that leaves a joint one: what belongs only to the old voters is removed.
pub(super) fn last_step(joint: &Membership) -> Membership {
    let mut parts = joint.parts().clone();
    parts.outgoing.clear();
    let stays = |node: &NodeId| parts.voters.contains(node) || parts.learners.contains(node);
    parts.metadata.retain(|node, _| stays(node));
    parts.stores.retain(|node, _| stays(node));
    Membership::new(parts).expect("a part of a sound membership that has its voters")
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::consensus::quorum::has_majority;
    use crate::types::MembershipError;

    fn node(number: u64) -> NodeId {
        NodeId::new(number).expect("not zero")
    }

    /// A membership of some of the nodes 1 to 8, with metadata and stores of some of its members.
    fn membership() -> impl Strategy<Value = Membership> {
        let parts = (
            prop::collection::btree_set(1u64..9, 1..6),
            prop::collection::btree_set(1u64..9, 0..4),
            prop::collection::btree_set(1u64..9, 0..9),
            0u64..3,
        );
        parts.prop_map(|(voters, learners, noted, unused)| {
            let learners: BTreeSet<u64> = learners.difference(&voters).copied().collect();
            let members: BTreeSet<u64> = voters.union(&learners).copied().collect();
            let noted: BTreeSet<u64> = noted.intersection(&members).copied().collect();
            let nodes = |set: &BTreeSet<u64>| set.iter().copied().map(node).collect();
            let highest = members.last().map(|highest| node(highest + unused));
            Membership::new(MembershipParts {
                voters: nodes(&voters),
                learners: nodes(&learners),
                outgoing: BTreeSet::new(),
                metadata: noted
                    .iter()
                    .map(|n| (node(*n), Bytes::from(alloc::vec![*n as u8])))
                    .collect(),
                stores: noted.iter().map(|n| (node(*n), StoreId(*n))).collect(),
                highest,
            })
            .expect("sound")
        })
    }

    /// Whether no member of the target has an id that was used before.
    fn may_follow(now: &Membership, target: &Membership) -> bool {
        target.members().all(|node| now.contains(node) || node > now.highest())
    }

    proptest! {
        #![proptest_config(ProptestConfig { max_global_rejects: 100_000, ..Default::default() })]

        /// The steps of a change lead to its target, and no two steps that follow each other decide
        /// independently: of two disjoint sets of nodes, at most one decides in either step.
        #[test]
        fn steps_lead_to_the_target_and_never_decide_independently(
            now in membership(),
            target in membership(),
            group in prop::collection::btree_set(1u64..9, 0..9),
        ) {
            prop_assume!(may_follow(&now, &target));
            let first = first_step(&now, &target);
            prop_assume!(first != Err(ChangeRefusal::Unchanged));
            let first = first.expect("nothing forbids it");
            let last = if first.is_joint() { last_step(&first) } else { first.clone() };
            prop_assert_eq!(first.is_joint(), now.parts().voters != target.parts().voters);
            for (one, other) in [(&now, &first), (&first, &last)] {
                let inside = |node: NodeId| group.contains(&node.get());
                let both = has_majority(one, inside) && has_majority(other, |n| !inside(n));
                prop_assert!(!both, "{one} and {other} decide independently");
            }
            prop_assert_eq!(&last.parts().voters, &target.parts().voters);
            prop_assert_eq!(&last.parts().learners, &target.parts().learners);
            prop_assert_eq!(&last.parts().metadata, &target.parts().metadata);
            for member in last.members() {
                let known = target.store(member).or(now.store(member));
                prop_assert_eq!(last.store(member), known);
            }
            prop_assert_eq!(last.highest(), now.highest().max(target.highest()));
        }

        /// While a change is under way, everything known of a member that is about to leave is
        /// kept.
        #[test]
        fn a_member_that_leaves_keeps_its_metadata_until_it_has_left(
            now in membership(),
            target in membership(),
        ) {
            prop_assume!(may_follow(&now, &target));
            let Ok(first) = first_step(&now, &target) else { return Ok(()) };
            for voter in now.parts().voters.iter().filter(|voter| !target.contains(**voter)) {
                prop_assert_eq!(first.metadata(*voter), now.metadata(*voter));
                prop_assert_eq!(first.store(*voter), now.store(*voter));
            }
        }
    }

    fn of(voters: &[u64], highest: u64) -> MembershipParts {
        let voters = voters.iter().copied().map(node).collect();
        MembershipParts { voters, highest: Some(node(highest)), ..MembershipParts::default() }
    }

    fn sound(parts: MembershipParts) -> Membership {
        Membership::new(parts).expect("sound")
    }

    #[test]
    fn a_node_id_is_never_used_again() {
        let now = sound(of(&[1, 2], 4));
        let again = first_step(&now, &sound(of(&[1, 2, 3], 4)));
        assert_eq!(again, Err(ChangeRefusal::NodeIdUsed(node(3))));
        let last = first_step(&now, &sound(of(&[1, 2, 4], 4)));
        assert_eq!(last, Err(ChangeRefusal::NodeIdUsed(node(4))));
        assert!(first_step(&now, &sound(of(&[1, 2, 5], 5))).is_ok());
    }

    #[test]
    fn a_member_keeps_its_store() {
        let with_store = |store| {
            let mut parts = of(&[1, 2], 2);
            parts.stores.insert(node(2), StoreId(store));
            sound(parts)
        };
        let known = first_step(&sound(of(&[1, 2], 2)), &with_store(7)).expect("it joins");
        assert_eq!(known.store(node(2)), Some(StoreId(7)));
        let other = first_step(&known, &with_store(8));
        assert_eq!(other, Err(ChangeRefusal::OtherStore(node(2))));
    }

    #[test]
    fn a_target_that_is_no_change_or_is_joint_is_refused() {
        let now = sound(of(&[1, 2], 2));
        assert_eq!(first_step(&now, &now), Err(ChangeRefusal::Unchanged));
        let mut joint = of(&[1], 2);
        joint.outgoing.insert(node(2));
        assert_eq!(first_step(&now, &sound(joint)), Err(ChangeRefusal::TargetIsJoint));
    }

    #[test]
    fn old_and_new_members_together_stay_within_the_limit() {
        let many = |first: u64| (first..first + 40).collect::<alloc::vec::Vec<u64>>();
        let now = sound(of(&many(1), 40));
        let refused = first_step(&now, &sound(of(&many(41), 80)));
        assert_eq!(refused, Err(ChangeRefusal::Unsound(MembershipError::TooMany(80))));
    }
}
