//! Ranges of a change's answer that are read after the change, if a client waits for them.
//!
//! A transaction may read as well as write, and a deletion may return what it deleted. Such a range
//! can be as large as the key space, and it is not part of the change. So applying a command only
//! notes the ranges ([`Deferrals`]), with the point inside the transaction at which each is to be
//! read. The service that waits for the answer reads them later, in steps, and fills them in
//! ([`Fill`]). Members on which no client waits read nothing. A single key is read at once.
//!
//! The service gets a [`Deferred`], in protocol buffers, with a pin that keeps the points readable
//! for as long as the bytes exist, even if a snapshot is restored meanwhile. It never leaves the
//! process.

use bytes::Bytes;
use prost::Message;

use crate::api::etcdserverpb::response_op::Response;
use crate::api::etcdserverpb::{DeleteRangeResponse, RangeRequest, RangeResponse, TxnResponse};
use crate::api::mvccpb::KeyValue;
use crate::mvcc::{Revision, Span, View};
use crate::range::{Reading, header_at, range};
use crate::shared::Pinned;

/// The first byte of an answer whose ranges are still to be read.
pub(crate) const DEFERRED: u8 = 255;

/// A range that is to be read after its transaction.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeferredRange {
    /// The answer to which it belongs: the number of the plain operation (one that is not a
    /// transaction), depth first, from 0.
    #[prost(uint32, tag = "1")]
    pub(crate) slot: u32,
    #[prost(message, required, tag = "2")]
    pub(crate) request: RangeRequest,
    /// The point at which it is read.
    #[prost(int64, tag = "3")]
    main: i64,
    #[prost(int64, tag = "4")]
    sub: i64,
}

/// A response whose deferred ranges are not yet filled in.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Deferred {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) response: Bytes,
    #[prost(message, repeated, tag = "2")]
    pub(crate) ranges: Vec<DeferredRange>,
    /// The number of the generation of the state from which they are read.
    #[prost(uint64, tag = "3")]
    pub(crate) generation: u64,
}

/// The ranges that one command defers.
#[derive(Debug)]
pub(crate) struct Deferrals {
    is_wanted: bool,
    /// How many plain operations have started.
    slots: u32,
    ranges: Vec<DeferredRange>,
}

impl Deferrals {
    /// For a command; `is_wanted` says whether a client of this member waits for its answer.
    pub(crate) fn new(is_wanted: bool) -> Deferrals {
        Deferrals { is_wanted, slots: 0, ranges: Vec::new() }
    }

    /// Whether a client of this member waits for the answer.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Must be called when each plain operation starts.
    pub(crate) fn next_slot(&mut self) {
        self.slots += 1;
    }

    /// Answers a range inside a transaction: a single key at once, else later.
    ///
    /// # Panics
    ///
    /// If the range's revision was not checked beforehand: a bug in this crate.
    pub(crate) fn range(&mut self, view: View<'_>, request: RangeRequest) -> RangeResponse {
        let checked = "the revision of a range was checked beforehand";
        if !self.is_wanted {
            return RangeResponse::default();
        }
        if request.range_end.is_empty() {
            return range(view, request).expect(checked);
        }
        let point = view.point_of(request.revision).expect(checked);
        self.defer(point, request);
        RangeResponse { header: Some(header_at(view.revision())), ..RangeResponse::default() }
    }

    /// The pairs that a deletion will delete: a single key is read at once, else later.
    pub(crate) fn previous(&mut self, view: View<'_>, key: &Bytes, end: &Bytes) -> Vec<KeyValue> {
        if !self.is_wanted {
            return Vec::new();
        }
        if end.is_empty() {
            let span = Span::of(key, end);
            return view.newest(span).map(|found| found.to_key_value()).collect();
        }
        let (key, range_end) = (key.clone(), end.clone());
        self.defer(view.point(), RangeRequest { key, range_end, ..RangeRequest::default() });
        Vec::new()
    }

    fn defer(&mut self, point: Revision, request: RangeRequest) {
        let Revision { main, sub } = point;
        let slot = self.slots.saturating_sub(1);
        self.ranges.push(DeferredRange { slot, request, main, sub });
    }

    /// The lowest revision at which the deferred ranges are read, if there are any.
    pub(crate) fn lowest(&self) -> Option<i64> {
        self.ranges.iter().map(|range| range.main).min()
    }

    /// Reads the deferred ranges at once.
    #[cfg(test)]
    pub(crate) fn fill_at_once(self, store: &crate::mvcc::Store, response: &mut impl Fill) {
        for range in &self.ranges {
            let mut reading = range.begin();
            while !reading.step(store, 1, usize::MAX).expect("there is no limit") {}
            response.fill(range.slot, reading.finish());
        }
    }

    /// The bytes for the service: [`DEFERRED`], then the encoded [`Deferred`]. They hold a pin as
    /// long as they exist.
    pub(crate) fn encode(self, response: &impl Message, pinned: Pinned) -> Bytes {
        let generation = pinned.generation().number();
        let response = response.encode_to_vec().into();
        let deferred = Deferred { response, ranges: self.ranges, generation };
        let mut bytes = Vec::with_capacity(1 + deferred.encoded_len());
        bytes.push(DEFERRED);
        deferred.encode_raw(&mut bytes);
        Bytes::from_owner(PinnedBytes { bytes, _pinned: pinned })
    }
}

/// The response of an answer whose ranges are still to be read, and those ranges.
#[cfg(test)]
pub(crate) fn read_at_once(
    store: &crate::shared::SharedStore,
    answer: &Bytes,
) -> (Bytes, Vec<RangeResponse>) {
    let deferred = Deferred::decode(answer.slice(1..)).expect("the machine encoded it");
    let generation = store.generation(deferred.generation).expect("the answer keeps it");
    let read = deferred.ranges.iter().map(|range| {
        let mut reading = range.begin();
        while !reading.step(&generation.read(), 1, usize::MAX).expect("there is no limit") {}
        reading.finish()
    });
    let read = read.collect();
    (deferred.response, read)
}

/// Bytes that keep a revision readable.
struct PinnedBytes {
    bytes: Vec<u8>,
    _pinned: Pinned,
}

impl AsRef<[u8]> for PinnedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DeferredRange {
    /// Starts to read it. The header of its answer was written when the command was applied.
    pub(crate) fn begin(&self) -> Reading {
        let point = Revision { main: self.main, sub: self.sub };
        Reading::at(point, self.main, self.request.clone())
    }
}

/// A response into which deferred ranges are filled.
pub(crate) trait Fill: Message + Default {
    /// Fills in the result of the range of the plain operation with this number.
    ///
    /// # Panics
    ///
    /// If there is no such operation, or it reads nothing: a bug in this crate.
    fn fill(&mut self, slot: u32, read: RangeResponse);
}

impl Fill for DeleteRangeResponse {
    fn fill(&mut self, _slot: u32, read: RangeResponse) {
        self.prev_kvs = read.kvs;
    }
}

impl Fill for TxnResponse {
    fn fill(&mut self, slot: u32, read: RangeResponse) {
        let mut before = slot;
        match plain(self, &mut before) {
            Some(Response::ResponseRange(range)) => {
                let header = range.header.take();
                *range = RangeResponse { header, ..read };
            }
            Some(Response::ResponseDeleteRange(delete)) => delete.fill(slot, read),
            other => panic!("operation {slot} of a transaction defers nothing: {other:?}"),
        }
    }
}

/// The response of the plain operation with this number, depth first.
fn plain<'r>(response: &'r mut TxnResponse, before: &mut u32) -> Option<&'r mut Response> {
    for response in response.responses.iter_mut().filter_map(|one| one.response.as_mut()) {
        match response {
            Response::ResponseTxn(inner) => {
                if let Some(found) = plain(inner, before) {
                    return Some(found);
                }
            }
            found if *before == 0 => return Some(found),
            _ => *before -= 1,
        }
    }
    None
}
