//! The engine's own state after an entry of the log: equal on all members, and part of snapshots.
//!
//! Deliberately absent: the state of the application, and what only one member knows.

use crate::features::FIRST_LEVEL;
use crate::sessions::SessionTable;

/// The engine's own state after an entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineState {
    /// The feature level.
    pub level: u32,
    /// The client sessions.
    pub sessions: SessionTable,
}

impl Default for EngineState {
    /// The state before the first entry.
    fn default() -> EngineState {
        EngineState { level: FIRST_LEVEL, sessions: SessionTable::default() }
    }
}
