//! One running member of a Kontiki cluster.

mod error;
mod inbound;
pub mod pump;
mod state_machine;
mod transport;

pub use error::{ProposeError, ReadError};
pub use inbound::{Inbound, Stranger};
pub use state_machine::{Committed, Replies, StateMachine};
pub use transport::{Content, Envelope, Forward, ForwardAnswer, Transport};
