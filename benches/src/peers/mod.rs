//! Other projects at the same work, behind the feature `peers`. Nothing that is shipped knows them.
//!
//! Each is driven as well as we know how: see the decisions 0141 and 0142 for what was given to
//! openraft and raft-engine, and what was tried.

mod openraft_cluster;
mod openraft_parts;
mod raft_engine_log;
mod side_by_side;

pub use openraft_cluster::{Layout, OpenraftLane};
pub use raft_engine_log::RaftEngineWriter;
pub use side_by_side::{Parts, SideBySide, run, summary};
