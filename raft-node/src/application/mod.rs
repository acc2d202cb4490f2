//! The interface that an application implements: a state machine over bytes, one over types,
//! or one that executes commands that do not overlap side by side.

mod concurrent;
mod encoding;
mod snapshot;
mod state_machine;
mod typed;

pub use self::concurrent::{Access, Concurrent, ConcurrentMachine, ConcurrentOptions, KeyRange};
pub(crate) use self::encoding::{decode, encode};
pub use self::snapshot::SnapshotState;
pub use self::state_machine::{Committed, Fatal, Replies, Snapshot, StateMachine};
pub use self::typed::Application;
pub(crate) use self::typed::{TypedMachine, decode_answer};
