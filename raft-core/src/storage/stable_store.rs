//! The state that a member keeps beside its log: its identity and its hard state.

use alloc::boxed::Box;

use async_trait::async_trait;

use super::LogError;
use crate::types::{HardState, Identity};

/// Keeps the identity and the hard state, each as one typed unit.
#[async_trait]
pub trait StableStore: Send {
    /// The identity, once one was saved.
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError>;

    /// Saves the identity; durable when it returns `Ok`. Refused if another identity is stored
    /// already; saving the same one again succeeds.
    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError>;

    /// The hard state last saved; term 0 without a vote if none was.
    async fn load_hard_state(&mut self) -> Result<HardState, LogError>;

    /// Saves term and vote as one unit (P8); durable when it returns `Ok`. Truncation, purge and
    /// reset never touch it (P9). A hard state that goes back is refused.
    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError>;
}
