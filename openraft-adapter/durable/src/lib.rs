//! openraft's own durable stores, opened for the conformance suite.
//!
//! Both were written for openraft 0.9 and its older trait; openraft's own `Adaptor` turns them into
//! stores of `RaftLogStorage`, and `kontiki-openraft-adapter` turns those into stores of this
//! project. Openraft's traits do not specify how a store is opened. So an opening that panics
//! counts as one that failed, and reports `InUse` if another handle holds the lock.
//!
//! Absent: a durable store of openraft 0.10, since the registry has none.

use std::path::Path;

use openraft::storage::Adaptor;
use openraft_adapter::v09::{OpenraftLog09, adapt};
use openraft_adapter::{Data, Declared, bytes_of, text_of};
use raft_core::storage::{LogError, LogErrorKind, LogOp};

#[cfg(feature = "rocksdb")]
pub mod rocksstore;
#[cfg(feature = "sled")]
pub mod sledstore;

/// The error of an opening that failed. If another handle holds the lock, only the library's
/// message shows it.
fn not_opened(said: String) -> LogError {
    let is_locked = said.to_lowercase().contains("lock");
    let kind = if is_locked { LogErrorKind::InUse } else { LogErrorKind::Io };
    LogError::new(LogOp::Open, kind).because(said)
}
