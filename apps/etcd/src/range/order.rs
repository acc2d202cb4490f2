//! In which order an answer's keys stand.
//!
//! Keys that tie in what is sorted by stand in the order of the keys themselves. etcd leaves ties
//! in whatever order its sort happens to produce, which no client may rely on.

use std::cmp::Ordering;

use crate::api::etcdserverpb::RangeRequest;
use crate::api::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::api::mvccpb::KeyValue;

use super::limit;

/// How many more keys than the answer needs are collected before the superfluous ones are dropped.
/// With many, a sort is rare; with few, little memory is taken.
const SPARE_KEYS: usize = 4096;

/// How a range's keys are sorted, and how many of them its answer needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    /// What is sorted by; `None` leaves the order of the keys.
    target: Option<SortTarget>,
    is_descending: bool,
    limit: usize,
}

impl Order {
    /// The order that a request asks for. By another target than the key an answer is sorted
    /// ascending even if no order was asked for; an order or a target that does not exist sorts
    /// nothing.
    pub(super) fn of(request: &RangeRequest) -> Order {
        let order = SortOrder::try_from(request.sort_order).ok();
        let target = SortTarget::try_from(request.sort_target).ok().filter(|_| order.is_some());
        let is_descending = order == Some(SortOrder::Descend);
        let sorts = target.filter(|target| *target != SortTarget::Key || is_descending);
        Order { target: sorts, is_descending, limit: limit(request) }
    }

    /// Whether so many keys are more than should be held on to.
    pub(super) fn is_crowded(self, kept: usize) -> bool {
        kept > self.limit.saturating_mul(2).saturating_add(SPARE_KEYS)
    }

    /// Drops what cannot be in the answer any more.
    pub(super) fn keep_the_first(self, kept: &mut Vec<KeyValue>) {
        self.sort(kept);
        kept.truncate(self.limit);
    }

    /// Sorts. Sorting what is sorted already, with later keys behind it, leaves ties in the order
    /// of their keys, since the sort is stable.
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
