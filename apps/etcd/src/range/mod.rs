//! Range: reads keys, at the newest revision or an earlier one, in steps.
//!
//! A [`Reading`] is one range in progress. It examines a limited number of keys in a step and keeps
//! what the answer needs. So it does not hold the store's lock for long, and takes no more memory
//! than the answer may have. `order` sorts the kept keys.
//!
//! The order of etcd's steps is visible in the answers. The limit applies to the keys that are
//! fetched, before they are sorted, unless the request has an explicit order or a filter by
//! revision. `count` is the number of keys in the span, whatever the limit and the filters leave
//! out.

mod order;

use crate::api::etcdserverpb::range_request::SortOrder;
use crate::api::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use crate::api::mvccpb::KeyValue;
use crate::errors::Refusal;
use crate::mvcc::{Found, Revision, Span, Store, View, Walk};

use order::Order;

/// The most bytes that the keys and values of one answer may have, with the memory that each key
/// takes while the answer is built. etcd has no such limit; a client that needs more reads page by
/// page.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// How many keys are examined, and about how many bytes are collected, before the store's lock is
/// released: some tens of microseconds.
pub const STEP_KEYS: usize = 512;
const STEP_BYTES: usize = 64 * 1024;

/// Refuses a request that can never be answered.
pub fn check(request: &RangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

/// A header with this revision; the service adds the member that answers.
pub(crate) fn header_at(revision: i64) -> ResponseHeader {
    ResponseHeader { revision, ..ResponseHeader::default() }
}

/// One range in progress.
#[derive(Debug)]
pub struct Reading {
    request: RangeRequest,
    /// The revision in the answer's header.
    revision: i64,
    walk: Walk,
    order: Order,
    /// The answer's keys so far. Invariant: no more than [`Order::room`] allows, once a step ends.
    kept: Vec<KeyValue>,
    /// The memory that `kept` takes, in bytes.
    kept_bytes: usize,
    /// How many keys of the span exist.
    count: usize,
    /// How many of these passed the filters.
    passed: usize,
}

impl Reading {
    /// Starts a range on what `view` sees.
    ///
    /// # Errors
    ///
    /// If the request's revision does not exist yet, or was compacted.
    pub fn begin(view: View<'_>, request: RangeRequest) -> Result<Reading, Refusal> {
        let point = view.point_of(request.revision)?;
        Ok(Reading::at(point, view.revision(), request))
    }

    /// Starts a range at a point that was checked and pinned before.
    pub(crate) fn at(point: Revision, revision: i64, request: RangeRequest) -> Reading {
        let walk = Walk::new(Span::of(&request.key, &request.range_end), point);
        let order = Order::of(&request);
        let kept = Vec::new();
        Reading { request, revision, walk, order, kept, kept_bytes: 0, count: 0, passed: 0 }
    }

    /// Reads for one step of at most `keys` keys. Returns whether the range has been read to its
    /// end.
    ///
    /// # Errors
    ///
    /// [`Refusal::AnswerTooLarge`] if the answer takes more than `most_bytes`, as
    /// [`Reading::bytes`] counts them; the reading must not be used after that.
    pub fn step(&mut self, store: &Store, keys: usize, most_bytes: usize) -> Result<bool, Refusal> {
        let fetched = fetch_limit(&self.request);
        let Reading { request, order, kept, kept_bytes, count, passed, .. } = self;
        let step_ends_at = *kept_bytes + STEP_BYTES;
        self.walk.step(store, keys, |found| {
            *count += 1;
            if !request.count_only && *count <= fetched && is_within_revisions(request, &found) {
                *passed += 1;
                let answer = found.to_key_value();
                *kept_bytes += cost(request, &answer);
                kept.push(answer);
            }
            *kept_bytes < step_ends_at
        });
        if order.is_crowded(kept.len()) {
            order.keep_the_first(kept);
            *kept_bytes = kept.iter().map(|answer| cost(request, answer)).sum();
        }
        if *kept_bytes > most_bytes {
            return Err(Refusal::AnswerTooLarge);
        }
        Ok(self.walk.is_over())
    }

    /// The revision that must stay readable until the range has been read to its end.
    pub fn pinned(&self) -> i64 {
        self.walk.point().main
    }

    /// The memory that the answer takes so far: the bytes of its keys and values, and their slots
    /// in a list.
    pub fn bytes(&self) -> usize {
        self.kept_bytes
    }

    /// The answer, once the range is read to its end.
    pub fn finish(mut self) -> RangeResponse {
        self.order.sort(&mut self.kept);
        let limit = limit(&self.request);
        self.kept.truncate(limit);
        if self.request.keys_only {
            self.kept.iter_mut().for_each(|answer| answer.value.clear());
        }
        RangeResponse {
            header: Some(header_at(self.revision)),
            kvs: self.kept,
            more: self.passed > limit,
            count: self.count as i64,
        }
    }
}

/// Answers a request from what `view` sees, in one step. For requests of a few keys.
///
/// # Errors
///
/// As [`Reading::begin`] and [`Reading::step`].
pub fn range(view: View<'_>, request: RangeRequest) -> Result<RangeResponse, Refusal> {
    let mut reading = Reading::begin(view, request)?;
    while !reading.step(view.store(), usize::MAX, MAX_ANSWER_BYTES)? {}
    Ok(reading.finish())
}

/// How many keys the answer may have.
fn limit(request: &RangeRequest) -> usize {
    usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX)
}

/// How many keys are fetched before they are sorted and filtered: one more than the limit, to know
/// whether there are more.
fn fetch_limit(request: &RangeRequest) -> usize {
    let is_filtered = request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0;
    if request.sort_order != SortOrder::None as i32 || is_filtered {
        return usize::MAX;
    }
    limit(request).saturating_add(1)
}

fn is_within_revisions(request: &RangeRequest, found: &Found<'_>) -> bool {
    let within = |revision: i64, min: i64, max: i64| {
        (min == 0 || revision >= min) && (max == 0 || revision <= max)
    };
    within(found.modified, request.min_mod_revision, request.max_mod_revision)
        && within(found.value.created, request.min_create_revision, request.max_create_revision)
}

/// The memory that a key of an answer takes: its bytes when sent, and its slot in the list until
/// then.
fn cost(request: &RangeRequest, answer: &KeyValue) -> usize {
    let value = if request.keys_only { 0 } else { answer.value.len() };
    answer.key.len() + value + size_of::<KeyValue>()
}

#[cfg(test)]
mod tests;
