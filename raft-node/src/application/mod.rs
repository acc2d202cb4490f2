//! The interface that an application implements: a state machine over bytes, or one over types.

mod encoding;
mod snapshot;
mod state_machine;
mod typed;

pub(crate) use self::encoding::{decode, encode};
pub use self::snapshot::SnapshotState;
pub use self::state_machine::{Committed, Fatal, Replies, Snapshot, StateMachine};
pub use self::typed::Application;
pub(crate) use self::typed::{TypedMachine, decode_answer};
