//! The workloads that all benchmarks share.
//!
//! A figure means little alone: the speed of a commit on a durable log is that of the disk, so
//! `floor` measures the disk itself in the same form. Absent: peers, open-loop load, reports.

mod cluster;
mod floor;

pub use cluster::Cluster;
pub use floor::PrewrittenFile;
