//! The properties that must hold whatever fails, one in each file.
//!
//! | file | checks |
//! |---|---|
//! | [`promises`] | a member promises only what its disk holds durably (L6, L7) |
//! | [`laws`] | laws about several members, or a member across restarts (L1 to L5, L8, L11, L12) |
//! | [`order`] | clients: their answers agree with the order of the committed log |
//! | [`linearizable`] | clients: some order explains their answers; uses no knowledge of the log |
//! | [`convergence`] | once faults stop, all members become equal and serve clients |
//!
//! The simulator updates all of these except [`linearizable`] and [`convergence`] after each input.
//! [`linearizable`] takes a history of any origin, so the same checker judges clusters of real
//! processes.

pub mod convergence;
mod history;
pub mod laws;
pub mod linearizable;
pub mod memberships;
pub mod order;
pub mod promises;
mod violation;
mod zones;

pub(crate) use violation::hold;
pub use violation::{Check, Violation};
