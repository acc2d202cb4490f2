//! DeleteRange: deletes the keys of a span.

use crate::answer::Deferrals;
use crate::api::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse};
use crate::errors::Refusal;
use crate::mvcc::{Span, Write};
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
