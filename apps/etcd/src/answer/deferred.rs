//! Answers of a change that are put together after it, where a client waits for them.
//!
//! A transaction may read as well as write, and a deletion may be asked for what it deleted. Such a
//! range can be as large as the key space, and it is no part of the change. So applying a command
//! only notes the ranges ([`Deferrals`]), with the point inside the transaction at which each
//! reads; the service that waits for the answer reads them later, in steps, and fills them in
//! ([`Fill`]). On members where no client waits nothing is read at all. A single key is read at
//! once.
//!
//! What applying hands to the service is a [`Deferred`], in protocol buffers, with a pin that keeps
//! the points readable for as long as the bytes exist. It never leaves the process.

use bytes::Bytes;
use prost::Message;

use crate::api::etcdserverpb::response_op::Response;
use crate::api::etcdserverpb::{DeleteRangeResponse, RangeRequest, RangeResponse, TxnResponse};
use crate::api::mvccpb::KeyValue;
use crate::mvcc::{Pin, Revision, Span, View};
use crate::range::{Reading, header_at, range};

/// The first byte of an answer whose ranges are still to be read.
pub(crate) const DEFERRED: u8 = 255;

/// A range that is to be read once its transaction is over.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeferredRange {
    /// Which answer it belongs to: the number of the plain operation, depth first, from 0.
    #[prost(uint32, tag = "1")]
    pub(crate) slot: u32,
    #[prost(message, required, tag = "2")]
    pub(crate) request: RangeRequest,
    /// The point at which it reads.
    #[prost(int64, tag = "3")]
    main: i64,
    #[prost(int64, tag = "4")]
    sub: i64,
}

/// A response whose deferred ranges are still empty.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Deferred {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) response: Bytes,
    #[prost(message, repeated, tag = "2")]
    pub(crate) ranges: Vec<DeferredRange>,
}

/// The ranges that one command defers.
#[derive(Debug)]
pub(crate) struct Deferrals {
    is_wanted: bool,
    /// How many plain operations have begun.
    slots: u32,
    ranges: Vec<DeferredRange>,
}

impl Deferrals {
    /// Of a command whose answer a client of this member waits for, or not.
    pub(crate) fn new(is_wanted: bool) -> Deferrals {
        Deferrals { is_wanted, slots: 0, ranges: Vec::new() }
    }

    /// Whether a client of this member waits for the answer.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// To be called as each plain operation begins.
    pub(crate) fn next_slot(&mut self) {
        self.slots += 1;
    }

    /// Answers a range inside a transaction: a single key at once, else later.
    ///
    /// # Panics
    ///
    /// If the range's revision was not checked beforehand: our own bug.
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

    /// The keys that a deletion is about to delete: a single key at once, else later.
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

    /// The lowest revision that the deferred ranges read, if there are any.
    pub(crate) fn lowest(&self) -> Option<i64> {
        self.ranges.iter().map(|range| range.main).min()
    }

    /// Reads the deferred ranges on the spot.
    #[cfg(test)]
    pub(crate) fn fill_at_once(self, store: &crate::mvcc::Store, response: &mut impl Fill) {
        for range in &self.ranges {
            let mut reading = range.begin();
            while !reading.step(store, 1, usize::MAX).expect("there is no limit") {}
            response.fill(range.slot, reading.finish());
        }
    }

    /// The bytes for the service: [`DEFERRED`], then what is deferred, with a pin for as long as
    /// the bytes exist.
    pub(crate) fn encode(self, response: &impl Message, pin: Pin) -> Bytes {
        let deferred = Deferred { response: response.encode_to_vec().into(), ranges: self.ranges };
        let mut bytes = Vec::with_capacity(1 + deferred.encoded_len());
        bytes.push(DEFERRED);
        deferred.encode_raw(&mut bytes);
        Bytes::from_owner(Pinned { bytes, _pin: pin })
    }
}

/// Bytes that keep a revision readable.
struct Pinned {
    bytes: Vec<u8>,
    _pin: Pin,
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DeferredRange {
    /// Begins to read it. Its answer's header was written when the command was applied.
    pub(crate) fn begin(&self) -> Reading {
        let point = Revision { main: self.main, sub: self.sub };
        Reading::at(point, self.main, self.request.clone())
    }
}

/// A response that deferred ranges are filled into.
pub(crate) trait Fill: Message + Default {
    /// Fills in what the range of the plain operation with this number read.
    ///
    /// # Panics
    ///
    /// If there is no such operation, or it reads nothing: our own bug.
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

/// The plain operation that has as many others before it, depth first.
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
