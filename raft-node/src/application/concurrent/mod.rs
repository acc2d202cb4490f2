//! Executes commands that do not overlap side by side.
//!
//! The order of the log stays as it is, and so does the order in which entries are committed: only
//! the execution is concurrent. A machine names, for each command, what it reads and writes
//! ([`Access`]). Within a window, a command is executed as soon as no earlier one that it conflicts
//! with is still to be done; `schedule` decides this, and threads of the machine's own execute.
//!
//! ```text
//!   apply --add--> schedule --take--> threads: execute --done--> schedule
//!     |                                                             |
//!     +-- answers, in the order of the log <------------------------+
//!   read: waits for the commands that it conflicts with, and for no other
//! ```
//!
//! - Answers and state equal those of the serial execution (a property test runs random schedules).
//! - A command whose answer is known before it is executed ([`ConcurrentMachine::early_answer`])
//!   does not hold up the member: it is executed behind, and reads see it.
//! - The window is bounded. A member that adds a command to a full window waits.
//! - A machine that keeps its own state durably may have executed commands beyond its prefix when
//!   the power fails. They are executed again at the next start, so they must be blind writes, or
//!   the machine must know which of them it has executed.
//!
//! No entry is ever *committed* out of order (decision 0280).

mod access;
mod machine;
mod schedule;

pub use self::access::{Access, KeyRange};
pub use self::machine::{Concurrent, ConcurrentMachine, ConcurrentOptions};

#[cfg(test)]
mod tests;
