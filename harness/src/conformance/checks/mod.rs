//! The checks, with one file for each family of promises.
//!
//! Each is a scenario on a [`Subject`](crate::conformance::Subject) that a correct store passes
//! without breaking a promise; [`list_of_checks!`](macro@crate::list_of_checks) lists them all. The
//! code that supports them is in the parent folder.

pub mod append_and_read;
pub mod concurrency;
pub mod damage;
pub mod declarations;
pub mod hard_state;
#[cfg(target_os = "linux")]
pub mod io_errors;
pub mod persist;
pub mod positions;
#[cfg(target_os = "linux")]
pub mod power_loss;
pub mod purge_and_reset;
pub mod random;
pub mod reopening;
pub mod truncation;

#[cfg(not(target_os = "linux"))]
pub use crate::conformance::elsewhere::{io_errors, power_loss};
