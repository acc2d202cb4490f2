//! A look at a log from outside: it shows what the log holds, sound or not, without changing a byte
//! of it.
//!
//! Opening a log repairs what a crash left (P2), so it writes, and it refuses a log that is
//! damaged. An inspection does neither. A backend offers one where an operator may want to look
//! into its files; the engine never asks for it, and a store need not have it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::{LogError, LogReader, Recovered, StoreInfo};
use crate::types::Identity;

/// What an inspection of a log found. Where the log is damaged, this is the sound part before the
/// damage.
#[derive(Debug)]
pub struct Inspection {
    /// What a store over these files declares.
    pub info: StoreInfo,
    /// Whose log it is; `None` if it has no owner yet, or if the damage lies before the identity.
    pub identity: Option<Identity>,
    /// What an opening would find, as far as the log is sound.
    pub recovered: Recovered,
    /// Up to where the log is proven to be synced, for people; empty if nothing is.
    pub proven: String,
    /// What lies beyond the proven end, for people: whole batches that an opening keeps, and torn
    /// writes that it drops.
    pub beyond: Vec<String>,
    /// What ended the inspection before the end of the log. Such a log does not open.
    pub damage: Option<LogError>,
}

/// A log under inspection. No store has it open meanwhile.
pub trait Inspect: Send {
    /// What the inspection found.
    fn result(&self) -> &Inspection;

    /// Reads the entries that the inspection found.
    fn reader(&self) -> Box<dyn LogReader>;

    /// Checks every checksum that guards what the log still holds, payloads included, and calls
    /// `progress` with how much is done and how much there is. Returns every damaged place,
    /// including the one that ended the inspection; none for a sound log.
    fn verify(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Vec<LogError>;
}
