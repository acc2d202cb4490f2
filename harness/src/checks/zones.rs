//! Judges the history of a register without a search, if each value is written only once.
//!
//! If each value has one write, any valid order has that write and all reads of its value next to
//! each other, as a block. A block A may precede a block B unless some operation of B returned
//! before some operation of A was invoked, that is, unless B's first return is no later than A's
//! last invocation. Two blocks contradict each other if neither may precede the other. If no two
//! blocks contradict each other, an order exists (Gibbons and Korach, Testing shared memories,
//! 1997). Each block has a span between its first return and its last invocation. The span is
//! *forward* if an operation of the block returned before another one was invoked, else *backward*.
//! Forward spans must not touch each other, and no backward span may lie inside a forward one; two
//! sorted passes check both.

use std::collections::HashMap;
use std::hash::Hash;

use super::history::{Action, Operation};

/// Judges a history in which each return is later than its invocation. Returns `None` if a value is
/// written twice or the initial value is written; otherwise the operations that contradict each
/// other, which is an empty list if the history is linearizable.
pub(super) fn contradiction<V: Clone + Eq + Hash>(
    initial: &V,
    operations: &[Operation<V>],
) -> Option<Vec<Operation<V>>> {
    let blocks = match blocks(initial, operations)? {
        Ok(blocks) => blocks,
        Err(read) => return Some(vec![operations[read].clone()]),
    };
    let pair = early_read(&blocks, operations).or_else(|| clash(blocks));
    let named = |at: &Option<usize>| at.map(|at| operations[at].clone());
    Some(pair.map_or_else(Vec::new, |pair| pair.iter().filter_map(named).collect()))
}

/// The operations of one value, as positions in the history. A position is `None` for the write of
/// the initial value, which precedes all operations.
#[derive(Clone, Copy, Debug)]
struct Block {
    write: Option<usize>,
    first_return: (u64, Option<usize>),
    last_invoked: (u64, Option<usize>),
}

impl Block {
    fn is_forward(&self) -> bool {
        self.first_return.0 <= self.last_invoked.0
    }

    fn add(&mut self, position: usize, invoked: u64, returned: u64) {
        if returned < self.first_return.0 {
            self.first_return = (returned, Some(position));
        }
        if invoked > self.last_invoked.0 {
            self.last_invoked = (invoked, Some(position));
        }
    }
}

/// Returns the blocks, or the position of a read whose value was never written; `None` if a value
/// is written twice.
fn blocks<V: Clone + Eq + Hash>(
    initial: &V,
    operations: &[Operation<V>],
) -> Option<Result<Vec<Block>, usize>> {
    let before_all = Block { write: None, first_return: (0, None), last_invoked: (0, None) };
    let mut blocks = vec![before_all];
    let mut of_value = HashMap::from([(initial, 0)]);
    for (position, operation) in operations.iter().enumerate() {
        if let Action::Write(value) = &operation.action {
            if of_value.insert(value, blocks.len()).is_some() {
                return None;
            }
            let returned = operation.returned.unwrap_or(u64::MAX);
            blocks.push(Block {
                write: Some(position),
                first_return: (returned, Some(position)),
                last_invoked: (operation.invoked, Some(position)),
            });
        }
    }
    for (position, operation) in operations.iter().enumerate() {
        if let Action::Read(value) = &operation.action {
            let Some(block) = of_value.get(value) else { return Some(Err(position)) };
            let returned = operation.returned.unwrap_or(u64::MAX);
            blocks[*block].add(position, operation.invoked, returned);
        }
    }
    Some(Ok(blocks))
}

/// Finds a read that returned before the write of its value was invoked.
fn early_read<V>(blocks: &[Block], operations: &[Operation<V>]) -> Option<[Option<usize>; 2]> {
    blocks.iter().find_map(|block| {
        let write = block.write?;
        let is_early = block.first_return.0 <= operations[write].invoked;
        is_early.then_some([Some(write), block.first_return.1])
    })
}

/// Finds two blocks of which neither may precede the other.
fn clash(blocks: Vec<Block>) -> Option<[Option<usize>; 2]> {
    let (mut forward, backward): (Vec<_>, Vec<_>) =
        blocks.into_iter().partition(|block| block.is_forward());
    forward.sort_by_key(|block| (block.first_return.0, block.last_invoked.0));
    let touching = forward.windows(2).find(|two| two[0].last_invoked.0 >= two[1].first_return.0);
    if let Some([one, other]) = touching {
        return Some([one.last_invoked.1, other.first_return.1]);
    }
    backward.iter().find_map(|inner| {
        let after = forward.partition_point(|outer| outer.first_return.0 <= inner.last_invoked.0);
        let outer = forward[..after].last()?;
        let inside = outer.last_invoked.0 >= inner.first_return.0;
        inside.then_some([inner.first_return.1, outer.last_invoked.1])
    })
}
