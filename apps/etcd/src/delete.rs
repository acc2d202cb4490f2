//! DeleteRange: deletes the keys of a span. A request by itself is applied in steps. A deletion in
//! a transaction is applied at once, and [`crate::txn`] limits how many keys it may delete.

use crate::answer::Deferrals;
use crate::api::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse};
use crate::api::mvccpb::KeyValue;
use crate::errors::Refusal;
use crate::mvcc::{Deletion, Span, Store, View, Write};
use crate::range::header_at;

/// Refuses a request that can never succeed.
pub fn check(request: &DeleteRangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

/// Deletes, and returns the deleted pairs if the request asks for them.
pub(crate) fn delete(
    write: &mut Write<'_>,
    request: &DeleteRangeRequest,
    deferrals: &mut Deferrals,
) -> DeleteRangeResponse {
    let span = Span::of(&request.key, &request.range_end);
    let prev_kvs = if request.prev_kv {
        deferrals.previous(write.view(), &request.key, &request.range_end)
    } else {
        Vec::new()
    };
    let (deleted, revision) = write.delete(span);
    DeleteRangeResponse { header: Some(header_at(revision)), deleted, prev_kvs }
}

/// The deletion of a request outside of a transaction, in progress.
#[derive(Debug)]
pub(crate) struct RangeDeletion {
    deletion: Deletion,
    deferrals: Deferrals,
    prev_kvs: Vec<KeyValue>,
}

impl RangeDeletion {
    /// Begins the deletion; nothing is deleted yet.
    pub(crate) fn begin(
        view: View<'_>,
        request: &DeleteRangeRequest,
        mut deferrals: Deferrals,
    ) -> RangeDeletion {
        let (key, end) = (&request.key, &request.range_end);
        let prev_kvs =
            if request.prev_kv { deferrals.previous(view, key, end) } else { Vec::new() };
        let deletion = Deletion::begin(view, Span::of(key, end));
        RangeDeletion { deletion, deferrals, prev_kvs }
    }

    /// Continues, and examines at most `keys` keys. Returns whether the deletion is complete.
    pub(crate) fn step(&mut self, store: &mut Store, keys: usize) -> bool {
        self.deletion.step(store, keys)
    }

    /// The answer, once the deletion is complete.
    pub(crate) fn finish(self, store: &Store) -> (DeleteRangeResponse, Deferrals) {
        let (header, deleted) = (Some(header_at(store.revision())), self.deletion.deleted());
        (DeleteRangeResponse { header, deleted, prev_kvs: self.prev_kvs }, self.deferrals)
    }
}
