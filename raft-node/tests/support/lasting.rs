//! A memory log for tests that start members again.

use raft_core::storage::{Durability, StoreInfo};

use crate::support::Changes;

/// A memory log that survives as long as its disk, and declares it.
#[derive(Clone)]
pub struct Lasting;

impl Changes for Lasting {
    fn declare(&self, info: StoreInfo) -> StoreInfo {
        StoreInfo { durability: Durability::PowerLoss, ..info }
    }
}
