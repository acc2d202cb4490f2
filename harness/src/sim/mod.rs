//! A whole cluster on one thread: real pumps on real stores, everything around them simulated.
//!
//! A `World` has an agenda, a heap of events keyed by (time, sequence). Everything that takes time
//! in reality is an event here: ticks of each member's own clock, messages on their way, a disk's
//! work, the pauses of clients, faults. All randomness comes from one seed, with a stream for each
//! part, so that a run is repeated byte for byte, and leaving one fault out does not shift the
//! others.
//!
//! | file | what is in it |
//! |---|---|
//! | `runs` | one seed from beginning to end; what it found |
//! | `plan` | what a seed draws: sizes, limits, which faults and how often (swarm) |
//! | `world` | the agenda and what happens |
//! | `member` | one member: a pump, its store, its state machine, its clock |
//! | `store_host` | the interface to backends, and a disk that takes time |
//! | `network` | loss, duplicates, delay, partitions, the archive of old messages |
//! | `nemesis` | faults that hit members, mostly the leader |
//! | `clients` | clients that write and read, at any member |
//! | `machine` | the replicated state machine |
//! | `marks` | rare things that must happen sometimes, or the run proves little |
//! | `journal` | one line and one hash for each event |
//! | `planted` | bugs to be found |
//!
//! Absent: threads, sockets, files, real time; membership changes and snapshots, which the core
//! does not have yet; shrinking of failures.

mod clients;
mod journal;
mod machine;
mod marks;
mod member;
mod nemesis;
mod network;
mod plan;
mod planted;
mod runs;
mod store_host;
mod world;

pub use crate::rng::Rng;
pub use marks::{Mark, Marks};
pub use plan::Plan;
pub use planted::{Planted, StoreBug};
pub use runs::{Found, Report, Settings, run};
pub use store_host::{DiskFactory, SimulatedDisk};

/// Simulated time, in microseconds since the beginning.
pub type Time = u64;

/// Microseconds in a tick of a clock that runs true.
pub const TICK: Time = 10_000;
