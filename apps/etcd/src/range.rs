//! Range: reading keys, now or at a revision of the past.
//!
//! The order of the steps is etcd's and shows in the answers: the limit cuts what is fetched,
//! before anything is sorted, unless an explicit order or a filter by revision was asked for;
//! `count` is the number of keys in the span, whatever the limit and the filters leave of them.

use crate::api::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::api::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use crate::errors::Refusal;
use crate::mvcc::{Found, Span, View};
use crate::tie_order;

/// Refuses a request that can never be answered.
pub fn check(request: &RangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

/// Answers a request from what `view` sees.
pub fn range(view: View<'_>, request: &RangeRequest) -> Result<RangeResponse, Refusal> {
    let span = Span::of(&request.key, &request.range_end);
    let mut found = view.find(span, request.revision)?;
    let mut count = 0;
    let mut kept = Vec::new();
    if request.count_only {
        count = found.count();
    } else {
        let fetched = fetch_limit(request);
        kept.extend(found.by_ref().take(fetched).inspect(|_| count += 1));
        count += found.count();
    }
    kept.retain(|found| is_within_revisions(request, found));
    sort(request, &mut kept);
    let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
    let more = limit.is_some_and(|limit| kept.len() > limit);
    kept.truncate(limit.unwrap_or(usize::MAX));
    Ok(RangeResponse {
        header: Some(header_at(view.revision())),
        kvs: kept.into_iter().map(|found| to_answer(request, found)).collect(),
        more,
        count: count as i64,
    })
}

/// A header that says the revision; the service adds who answers.
pub(crate) fn header_at(revision: i64) -> ResponseHeader {
    ResponseHeader { revision, ..ResponseHeader::default() }
}

/// How many keys are fetched before they are sorted and filtered: one more than the limit, so that
/// it is known whether there are more.
fn fetch_limit(request: &RangeRequest) -> usize {
    let is_filtered = request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0;
    if request.sort_order != SortOrder::None as i32 || is_filtered || request.limit <= 0 {
        return usize::MAX;
    }
    usize::try_from(request.limit).unwrap_or(usize::MAX).saturating_add(1)
}

fn is_within_revisions(request: &RangeRequest, found: &Found<'_>) -> bool {
    let within = |revision: i64, min: i64, max: i64| {
        (min == 0 || revision >= min) && (max == 0 || revision <= max)
    };
    within(found.modified, request.min_mod_revision, request.max_mod_revision)
        && within(found.value.created, request.min_create_revision, request.max_create_revision)
}

/// Sorts as asked. The keys come in ascending order; by another target they are sorted ascending
/// even if no order was asked for.
fn sort(request: &RangeRequest, kept: &mut [Found<'_>]) {
    let (Ok(order), Ok(target)) =
        (SortOrder::try_from(request.sort_order), SortTarget::try_from(request.sort_target))
    else {
        return; // an order or a target that does not exist sorts nothing
    };
    let descending = order == SortOrder::Descend;
    match target {
        SortTarget::Key if descending => kept.reverse(),
        SortTarget::Key => {}
        SortTarget::Version => sort_by(kept, descending, |found| found.value.version),
        SortTarget::Create => sort_by(kept, descending, |found| found.value.created),
        SortTarget::Mod => sort_by(kept, descending, |found| found.modified),
        SortTarget::Value => sort_by(kept, descending, |found| &found.value.bytes),
    }
}

fn sort_by<'s, T: Ord>(kept: &mut [Found<'s>], descending: bool, target: impl Fn(&Found<'s>) -> T) {
    if descending {
        tie_order::sort(kept, &mut |left, right| target(right) < target(left));
    } else {
        tie_order::sort(kept, &mut |left, right| target(left) < target(right));
    }
}

fn to_answer(request: &RangeRequest, found: Found<'_>) -> crate::api::mvccpb::KeyValue {
    let mut answer = found.to_key_value();
    if request.keys_only {
        answer.value.clear();
    }
    answer
}
