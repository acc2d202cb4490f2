//! Inspection of a log: it shows the contents of a log, sound or damaged, without changing a byte.
//!
//! Opening a log repairs what a crash left (P2), so it writes, and it refuses a log that is
//! damaged. An inspection does neither. A backend offers an inspection if operators may want to
//! look into its files; the engine never uses it, and a store need not have it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::{LogError, LogReader, Recovered, StoreInfo};
use crate::types::Identity;

/// The result of an inspection. If the log is damaged, it covers the sound part before the damage.
#[derive(Debug)]
pub struct Inspection {
    /// The declarations of a store over these files.
    pub info: StoreInfo,
    /// The log's identity; `None` if none was written yet, or if the damage lies before it.
    pub identity: Option<Identity>,
    /// What opening the log would recover, as far as the log is sound.
    pub recovered: Recovered,
    /// Up to where the log is proven to be synced, as text for operators; empty if nothing is.
    pub proven: String,
    /// What lies beyond the proven end, as text for operators: whole batches that opening keeps,
    /// and torn writes that it drops.
    pub beyond: Vec<String>,
    /// The damage that ended the inspection before the end of the log. Such a log does not open.
    pub damage: Option<LogError>,
}

/// A log under inspection. No store may have it open at the same time.
pub trait Inspect: Send {
    /// The result of the inspection.
    fn result(&self) -> &Inspection;

    /// Reads the entries that the inspection found.
    fn reader(&self) -> Box<dyn LogReader>;

    /// Checks every checksum that guards what the log still holds, payloads included, and calls
    /// `progress` with the amount done and the total. Returns every damaged place, including the
    /// one that ended the inspection; none for a sound log.
    fn verify(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Vec<LogError>;
}
