//! Checks that no key is written twice in one transaction.
//!
//! The rule is etcd's, with its gaps. Puts are checked against the other puts and against the
//! deletions of their own level and of the inner transactions before them; the two branches of one
//! inner transaction never run together, so they may put the same key. Two cases are not checked:
//! deletions against earlier inner puts, and deletions of "this key and all after it". The end of
//! such a deletion, a zero byte, is treated as an ordinary end, so that the deletion covers
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::etcdserverpb::request_op::Request;
use crate::api::etcdserverpb::{DeleteRangeRequest, RequestOp};
use crate::errors::Refusal;

/// Refuses operations that would write a key twice.
pub(super) fn check(operations: &[RequestOp]) -> Result<(), Refusal> {
    writes_of(operations).map(|_| ())
}

/// The keys that a list of operations may write.
#[derive(Default)]
struct Writes<'r> {
    puts: BTreeSet<&'r [u8]>,
    deletions: Deletions,
}

fn writes_of(operations: &[RequestOp]) -> Result<Writes<'_>, Refusal> {
    let requests = || operations.iter().filter_map(|operation| operation.request.as_ref());
    let mut writes = Writes::default();
    for request in requests() {
        if let Request::RequestDeleteRange(request) = request {
            writes.deletions.add(request);
        }
    }
    for request in requests() {
        if let Request::RequestTxn(inner) = request {
            writes.add_either(writes_of(&inner.success)?, writes_of(&inner.failure)?)?;
        }
    }
    for request in requests() {
        if let Request::RequestPut(request) = request {
            writes.add_put(&request.key)?;
        }
    }
    Ok(writes)
}

impl<'r> Writes<'r> {
    /// Adds the two branches of an inner transaction.
    fn add_either(&mut self, success: Writes<'r>, failure: Writes<'r>) -> Result<(), Refusal> {
        for key in &success.puts {
            self.add_put(key)?;
        }
        for key in failure.puts {
            if !success.puts.contains(key) {
                self.add_put(key)?;
            }
        }
        self.deletions.join(success.deletions);
        self.deletions.join(failure.deletions);
        Ok(())
    }

    fn add_put(&mut self, key: &'r [u8]) -> Result<(), Refusal> {
        if self.deletions.cover(key) || !self.puts.insert(key) {
            return Err(Refusal::DuplicateKey);
        }
        Ok(())
    }
}

/// Ranges of keys that do not overlap or touch: each start with its end.
#[derive(Default)]
struct Deletions {
    ranges: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Deletions {
    fn add(&mut self, request: &DeleteRangeRequest) {
        let start = request.key.to_vec();
        let end = if request.range_end.is_empty() {
            [&start[..], &[0]].concat()
        } else {
            request.range_end.to_vec()
        };
        self.insert(start, end);
    }

    fn join(&mut self, other: Deletions) {
        for (start, end) in other.ranges {
            self.insert(start, end);
        }
    }

    /// Adds a range and merges it with those that it touches.
    fn insert(&mut self, mut start: Vec<u8>, mut end: Vec<u8>) {
        if start >= end {
            return;
        }
        while let Some((known, until)) = self.ranges.range(..=end.clone()).next_back() {
            if *until < start {
                break;
            }
            let known = known.clone();
            if let Some(until) = self.ranges.remove(&known) {
                end = end.max(until);
            }
            start = start.min(known);
        }
        self.ranges.insert(start, end);
    }

    fn cover(&self, key: &[u8]) -> bool {
        let bounds = (std::ops::Bound::Unbounded, std::ops::Bound::Included(key));
        self.ranges.range::<[u8], _>(bounds).next_back().is_some_and(|(_, end)| key < &end[..])
    }
}
