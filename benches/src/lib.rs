//! The benchmarks of Kontiki: which log suits a machine, and how close it comes to what the machine
//! can do.
//!
//! A [`Workload`] describes the load, and a [`lane`] is one subject under that load. Lanes are
//! measured in turns, and the disk's own [`floor`] is one of them. The result is a [`Report`]: rows
//! of figures with the [`facts`] of the machine, which [`show`] turns into a table, a page or a
//! part of a document.
//!
//! | work | module | question |
//! |---|---|---|
//! | `log` | [`log`] | what does a durable append cost on this backend and this disk? |
//! | `commit` | [`commit`] | how fast does a cluster with this log answer, in one process? |
//! | `etcd` | [`etcd`] | how fast does a server answer over the network, ours or another? |
//! | `verbs` | [`floor`] | which way to sync suits this disk? |
//! | `soak` | [`soak`] | how do the figures of one log change over minutes? |
//!
//! Only comparable subjects are compared: a store that does not sync has no floor and no rank.
//! Deliberately absent: reads under load, and more than one machine.

pub mod background;
pub mod cluster;
pub mod commit;
mod core_trio;
mod error;
pub mod etcd;
pub mod facts;
pub mod files;
pub mod floor;
pub mod lane;
pub mod log;
mod measure;
pub mod meter;
pub mod named_log;
#[cfg(feature = "peers")]
pub mod peers;
mod place;
mod progress;
mod report;
mod row;
mod samples;
pub mod show;
pub mod soak;
mod workload;

pub use core_trio::CoreTrio;
pub use error::BenchError;
pub use lane::{Lane, Schedule, Stop, Subject, Tally};
pub use measure::{MakeLanes, Preparation, Work, check_time, measure};
pub use place::{FileLog, Place};
pub use progress::Progress;
pub use report::{Report, SCHEMA};
pub use row::{Interval, Round, Row};
pub use samples::{Samples, median};
pub use workload::{MAX_BATCH, MAX_CLIENTS, MAX_SIZE, RATES, Workload, incompressible};
