//! The declarations of a store. The conformance suite verifies each of them.

use alloc::borrow::Cow;
use core::fmt;

/// The declarations of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreInfo {
    /// The backend's name, as users choose it: `memory`, `file`, ...
    pub backend: Cow<'static, str>,
    /// What a write that returned `Ok` survives.
    pub durability: Durability,
    /// Whether a crash leaves only whole batches (P4), or may leave a part of the last one.
    pub atomic_batch: bool,
    /// Whether a verb may block its thread. Such a store is given a thread of its own.
    pub may_block: bool,
    /// Which damage the store can distinguish from data.
    pub detects: Detects,
    /// The call that makes bytes durable, for operators: `fdatasync`, `none`, ...
    pub sync_verb: Cow<'static, str>,
    /// The version of the stored format.
    pub format_version: u32,
}

/// What a write that returned `Ok` survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Nothing: the data is lost with the process.
    Volatile,
    /// The end of the process, not that of the machine.
    ProcessCrash,
    /// A power cut.
    PowerLoss,
}

/// Which damage a store can distinguish from data (P14). Each level includes the promise of the one
/// before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detects {
    /// None.
    Nothing,
    /// Damaged bytes are never returned as data.
    Payload,
    /// Also: damage before the last position that is proven synced (by a later batch, a clean close
    /// or a reopening) is an error, never a shorter log. Bytes beyond it may be a torn write and
    /// are dropped.
    ProvenPrefix,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::Volatile => "volatile",
            Durability::ProcessCrash => "process crash",
            Durability::PowerLoss => "power loss",
        })
    }
}
