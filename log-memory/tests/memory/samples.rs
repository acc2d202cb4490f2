//! What the tests of the memory log share, beside the workbench of the suite.

pub use harness::conformance::workbench::*;
use raft_core::types::Entry;

/// A command that tells which writer made it.
pub fn entry(index: u64, term: u64, mark: u64) -> Entry {
    sized_entry(index, term, mark, 20)
}
