//! The interface that an application implements: a state machine over bytes, or one over types.

mod state_machine;
mod typed;

pub use self::state_machine::{Committed, Fatal, Replies, StateMachine};
pub use self::typed::Application;
pub(crate) use self::typed::{TypedMachine, decode, decode_answer, encode};
