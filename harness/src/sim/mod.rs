//! A whole cluster on one thread: real pumps on real stores, everything around them simulated.
//!
//! One `World` has one agenda, a heap of happenings keyed by (time, sequence). Whatever
//! waits in reality is a happening here: ticks of each member's own clock, messages on their way, a
//! disk's work, clients' thoughts, faults. All chance comes from one seed, in a stream of its own
//! for each part, so that a run is repeated byte for byte, and taking one fault away does not shift
//! the others.
//!
//! | room | |
//! |---|---|
//! | `runs` | one seed from beginning to end; what it found |
//! | `plan` | what a seed draws: sizes, limits, which faults and how often (swarm) |
//! | `world` | the agenda and what happens |
//! | `member` | one member: a pump, its store, its machine, its clock |
//! | `store_host` | the seam to backends, and a disk that takes its time |
//! | `network` | loss, duplicates, delay, partitions, the archive of old messages |
//! | `nemesis` | faults that strike members, the leader above all |
//! | `clients` | who writes and reads, on any member |
//! | `machine` | what is replicated |
//! | `marks` | rare things that must happen sometimes, or the run proves little |
//! | `journal` | one line and one hash for each happening |
//! | `planted` | bugs to be found |
//!
//! Absent: threads, sockets, files, real time; membership changes and snapshots, which the core
//! does not have yet; shrinking of failures.

mod chance;
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

pub use chance::Chance;
pub(crate) use journal::Digest;
pub use marks::{Mark, Marks};
pub use plan::Plan;
pub use planted::{Planted, StoreBug};
pub use runs::{Found, Report, Settings, run};
pub use store_host::{DiskFactory, SimulatedDisk};

/// Simulated time, in microseconds since the beginning.
pub type Time = u64;

/// Microseconds in a tick of a clock that runs true.
pub const TICK: Time = 10_000;
