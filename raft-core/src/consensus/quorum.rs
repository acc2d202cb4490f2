//! The arithmetic of majorities, as pure functions.
//!
//! Two majorities of one set of voters always share a member; every safety argument of the paper
//! depends on that. In a joint membership each decision needs a majority of *both* halves (section
//! 6), never one of their union.

use alloc::collections::BTreeSet;

use crate::types::{MAX_MEMBERS, Membership, NodeId};

/// The result of the votes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// A majority of each half has granted.
    Won,
    /// In at least one half, a majority can no longer be reached.
    Lost,
    /// Neither is certain yet.
    Open,
}

/// How many of `voters` form a majority.
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Whether the members for which `holds` is true form a majority of each half.
pub fn has_majority(membership: &Membership, holds: impl Fn(NodeId) -> bool) -> bool {
    membership.halves().all(|half| count(half, &holds) >= majority(half.len()))
}

/// The result of the votes; `vote` returns a member's vote, or `None` if it has not answered.
pub fn tally(membership: &Membership, vote: impl Fn(NodeId) -> Option<bool>) -> Tally {
    if has_majority(membership, |node| vote(node) == Some(true)) {
        return Tally::Won;
    }
    let can_still_win = has_majority(membership, |node| vote(node) != Some(false));
    if can_still_win { Tally::Open } else { Tally::Lost }
}

/// The greatest value that a majority of each half has reached, where `value` gives what a voter
/// has reached. With match indexes, that is the last index that a majority stores.
pub fn reached_by_majority<T: Ord + Copy>(
    membership: &Membership,
    value: impl Fn(NodeId) -> T,
) -> T {
    let reached = membership.halves().map(|half| reached_by_half(half, &value)).min();
    reached.expect("a membership has at least one half")
}

/// Clusters are small, so comparing each pair beats sorting. Each voter is asked once.
fn reached_by_half<T: Ord + Copy>(half: &BTreeSet<NodeId>, value: &impl Fn(NodeId) -> T) -> T {
    let first = half.first().expect("a half has a voter");
    let mut marks = [value(*first); MAX_MEMBERS];
    let marks = &mut marks[..half.len()];
    marks.iter_mut().zip(half).for_each(|(mark, node)| *mark = value(*node));
    let reach = |mark: T| marks.iter().filter(|other| **other >= mark).count();
    let enough = |mark: &T| reach(*mark) >= majority(half.len());
    marks.iter().copied().filter(enough).max().expect("the least value is reached by all")
}

fn count(half: &BTreeSet<NodeId>, holds: impl Fn(NodeId) -> bool) -> usize {
    half.iter().filter(|node| holds(**node)).count()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::types::MembershipParts;

    fn node(number: u64) -> NodeId {
        NodeId::new(number).expect("not zero")
    }

    fn membership(voters: &BTreeSet<u64>, outgoing: &BTreeSet<u64>) -> Membership {
        let nodes = |set: &BTreeSet<u64>| set.iter().map(|number| node(*number)).collect();
        let parts = MembershipParts {
            voters: nodes(voters),
            outgoing: nodes(outgoing),
            ..MembershipParts::default()
        };
        Membership::new(parts).expect("sound")
    }

    /// The definition, literally: sort, and take the value at the majority's position.
    fn by_sorting(half: &BTreeSet<NodeId>, values: &[u64]) -> u64 {
        let mut sorted: Vec<u64> = half.iter().map(|n| values[n.get() as usize]).collect();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        sorted[majority(half.len()) - 1]
    }

    proptest! {
        /// A majority has reached the returned value, and no majority has reached a greater one.
        #[test]
        fn the_reached_value_is_the_sorted_one(
            voters in prop::collection::btree_set(1u64..10, 1..8),
            outgoing in prop::collection::btree_set(1u64..10, 0..8),
            values in prop::collection::vec(0u64..20, 10),
        ) {
            let membership = membership(&voters, &outgoing);
            let value = |node: NodeId| values[node.get() as usize];
            let expected = membership.halves().map(|half| by_sorting(half, &values)).min();
            let reached = reached_by_majority(&membership, value);
            prop_assert_eq!(Some(reached), expected);
            prop_assert!(has_majority(&membership, |node| value(node) >= reached));
            prop_assert!(!has_majority(&membership, |node| value(node) > reached));
        }

        /// Two majorities of one membership share a voter, so two candidates never both win.
        #[test]
        fn two_candidates_never_both_win(
            voters in prop::collection::btree_set(1u64..10, 1..8),
            outgoing in prop::collection::btree_set(1u64..10, 0..8),
            votes in prop::collection::vec(prop::option::of(any::<bool>()), 10),
        ) {
            let membership = membership(&voters, &outgoing);
            let for_one = |node: NodeId| votes[node.get() as usize];
            let for_other = |node: NodeId| votes[node.get() as usize].map(|one| !one);
            let both = tally(&membership, for_one) == Tally::Won
                && tally(&membership, for_other) == Tally::Won;
            prop_assert!(!both);
        }
    }

    #[test]
    fn half_of_an_even_number_is_no_majority() {
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(majority), [1, 2, 2, 3, 3, 4, 4]);
    }
}
