//! Compact: discards the history below a revision.
//!
//! The answer is the same whether or not the request asks for a physical compaction: versions that
//! cannot be read any more are freed in small steps, with and between the commands that follow (see
//! [`crate::mvcc::Store::sweep`]).

use crate::api::etcdserverpb::{CompactionRequest, CompactionResponse};
use crate::errors::Refusal;
use crate::mvcc::Store;
use crate::range::header_at;

/// Compacts, unless the revision was compacted already or does not exist yet.
pub fn compact(
    store: &mut Store,
    request: &CompactionRequest,
) -> Result<CompactionResponse, Refusal> {
    store.compact(request.revision)?;
    Ok(CompactionResponse { header: Some(header_at(store.revision())) })
}
