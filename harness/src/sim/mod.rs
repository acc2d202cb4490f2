//! The simulator: a whole cluster on one thread. Pumps and stores are real, and everything around
//! them is simulated.
//!
//! A `World` has an event queue: a heap of events ordered by (time, sequence). Everything that
//! takes time in reality is an event here: ticks of each member's clock, messages in transit, disk
//! operations, pauses of clients, faults. All randomness comes from one seed, with a stream of
//! random numbers for each part, so that a run can be repeated byte for byte, and leaving out one
//! fault does not shift the others.
//!
//! | file | contents |
//! |---|---|
//! | `runs` | runs one seed from beginning to end and reports what it found |
//! | `plan` | what a seed draws: sizes, limits, which faults and how often (swarm testing) |
//! | `world` | the event queue, and what each event does |
//! | `member` | one member: a pump, its store, its state machine, its clock |
//! | `store_host` | the interface to backends, and a disk whose operations take time |
//! | `network` | loss, duplicates, delay, partitions, the archive of old messages |
//! | `nemesis` | draws the faults, most of them at the leader |
//! | `operator` | asks members to hand their leadership over, and to change the membership |
//! | `clients` | clients that write and read, at any member |
//! | `machine` | the replicated state machine |
//! | `snapshots` | the snapshot files of a member |
//! | `marks` | rare situations that must occur in some runs, or the runs prove little |
//! | `journal` | a line of text for each event, and a hash over all events |
//! | `planted` | planted bugs that the simulator must find |
//!
//! Deliberately absent: threads, sockets, files and real time; shrinking of failures.

mod clients;
mod journal;
mod machine;
mod marks;
mod member;
mod nemesis;
mod network;
mod operator;
mod plan;
mod planted;
mod runs;
mod sessions;
mod snapshots;
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

/// The length of a tick, in microseconds, of a clock that runs at the correct speed.
pub const TICK: Time = 10_000;
