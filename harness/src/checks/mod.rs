//! What must hold, whatever fails, with one property in each file.
//!
//! | file | checks |
//! |---|---|
//! | [`promises`] | nothing is promised before what it rests on is durable (L6, L7) |
//! | [`laws`] | what only two members together can break (L1 to L5, L8, L11, L12) |
//! | [`order`] | clients: the committed log is the order in which things happened |
//! | [`linearizable`] | clients: some order explains what they saw; independent of the log |
//! | [`convergence`] | once faults stop, all members become equal and serve |
//!
//! The simulator updates all but [`linearizable`] after each input. That one takes a history of
//! any origin, so the same checker judges clusters of real processes.

pub mod convergence;
mod history;
pub mod laws;
pub mod linearizable;
pub mod order;
pub mod promises;
mod violation;
mod zones;

pub(crate) use violation::hold;
pub use violation::{Check, Violation};
