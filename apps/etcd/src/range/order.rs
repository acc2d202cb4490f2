//! The order of the keys in an answer.
//!
//! Keys that tie are in the order of the keys themselves. etcd leaves ties in the order that its
//! unstable sort produces, on which no client may rely.

use std::cmp::Ordering;

use crate::api::etcdserverpb::RangeRequest;
use crate::api::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::api::mvccpb::KeyValue;

use super::limit;

/// How many more keys than the answer needs are collected before the others are dropped. A high
/// number makes sorts rare; a low number saves memory.
const SPARE_KEYS: usize = 4096;

/// How a range's keys are sorted, and how many of them its answer needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    /// The field to sort by; `None` keeps the order of the keys.
    target: Option<SortTarget>,
    is_descending: bool,
    limit: usize,
}

impl Order {
    /// The order that a request asks for. With a target other than the key, an answer is sorted in
    /// ascending order even if the request gives no order. An order or a target that does not exist
    /// sorts nothing.
    pub(super) fn of(request: &RangeRequest) -> Order {
        let order = SortOrder::try_from(request.sort_order).ok();
        let target = SortTarget::try_from(request.sort_target).ok().filter(|_| order.is_some());
        let is_descending = order == Some(SortOrder::Descend);
        let sorts = target.filter(|target| *target != SortTarget::Key || is_descending);
        Order { target: sorts, is_descending, limit: limit(request) }
    }

    /// Whether this is more keys than should be kept.
    pub(super) fn is_crowded(self, kept: usize) -> bool {
        kept > self.limit.saturating_mul(2).saturating_add(SPARE_KEYS)
    }

    /// Drops the keys that cannot be in the answer any more.
    pub(super) fn keep_the_first(self, kept: &mut Vec<KeyValue>) {
        self.sort(kept);
        kept.truncate(self.limit);
    }

    /// Sorts. If the list begins with sorted keys and later keys follow, ties stay in the order of
    /// their keys, since the sort is stable.
    pub(super) fn sort(self, kept: &mut [KeyValue]) {
        let Some(target) = self.target else { return };
        kept.sort_by(|left, right| {
            let ascending = compare(target, left, right);
            if self.is_descending { ascending.reverse() } else { ascending }
        });
    }
}

fn compare(target: SortTarget, left: &KeyValue, right: &KeyValue) -> Ordering {
    match target {
        SortTarget::Key => left.key.cmp(&right.key),
        SortTarget::Version => left.version.cmp(&right.version),
        SortTarget::Create => left.create_revision.cmp(&right.create_revision),
        SortTarget::Mod => left.mod_revision.cmp(&right.mod_revision),
        SortTarget::Value => left.value.cmp(&right.value),
    }
}
