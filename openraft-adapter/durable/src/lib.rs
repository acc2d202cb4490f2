//! openraft's own durable stores, opened for the conformance suite.
//!
//! Both were written for openraft 0.9 and its older trait; openraft's own `Adaptor` makes them
//! stores of `RaftLogStorage`, and `kontiki-openraft-adapter` makes those stores of this project.
//! How such a store is opened is no part of openraft's traits. So an opening that panics counts as
//! one that failed, and says `InUse` where another handle holds the lock.
//!
//! Absent: a durable store of openraft 0.10, as the registry has none.

use std::path::Path;

use openraft::storage::Adaptor;
use openraft_adapter::v09::{OpenraftLog09, adapt};
use openraft_adapter::{Data, Declared, bytes_of, text_of};
use raft_core::storage::{LogError, LogErrorKind, LogOp};

#[cfg(feature = "rocksdb")]
pub mod rocksstore;
#[cfg(feature = "sled")]
pub mod sledstore;

/// The error of an opening that failed. The library reports a lock that another handle holds only
/// in its message.
fn not_opened(said: String) -> LogError {
    let is_locked = said.to_lowercase().contains("lock");
    let kind = if is_locked { LogErrorKind::InUse } else { LogErrorKind::Io };
    LogError::new(LogOp::Open, kind).because(said)
}
