//! Other projects that do the same work, behind the feature `peers`. Nothing that is shipped
//! depends on them.
//!
//! Each project is configured as well as we know how. Decisions 0141 and 0142 say how openraft and
//! raft-engine are set up, and what was tried.

mod openraft_cluster;
mod openraft_parts;
mod raft_engine_log;
mod side_by_side;

pub use openraft_cluster::{Layout, OpenraftLane};
pub use raft_engine_log::RaftEngineWriter;
pub use side_by_side::{Parts, SideBySide, run, summary};
