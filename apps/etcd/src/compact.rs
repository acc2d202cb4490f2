//! Compact: the past below a revision is given up.
//!
//! The answer is the same whether the request asks for a physical compaction or not: what cannot be
//! read any more is freed in small steps, with the commands that follow (see
//! [`crate::mvcc::Store::sweep`]).

use crate::api::etcdserverpb::{CompactionRequest, CompactionResponse};
use crate::errors::Refusal;
use crate::mvcc::Store;
use crate::range::header_at;

/// Compacts, if the revision is neither given up already nor still to come.
pub fn compact(
    store: &mut Store,
    request: &CompactionRequest,
) -> Result<CompactionResponse, Refusal> {
    store.compact(request.revision)?;
    Ok(CompactionResponse { header: Some(header_at(store.revision())) })
}
