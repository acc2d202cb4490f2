//! Helpers for the tests of the memory log, in addition to those of the suite.

pub use harness::conformance::workbench::*;
use raft_core::types::Entry;

/// A command whose payload names its writer.
pub fn entry(index: u64, term: u64, mark: u64) -> Entry {
    sized_entry(index, term, mark, 20)
}
