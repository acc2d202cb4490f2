//! The protocol.

mod message;

pub use message::{Body, Message, ReadId, Round, Verdict};
