//! Clients that wait for an answer; this module does not depend on Raft.
//!
//! ```text
//!   quota    a request waits here until it may enter
//!   batcher  it joins those that came in the same moment
//!   reply    and waits there for the answer that all of them share
//! ```

pub(crate) mod batcher;
pub(crate) mod consistency;
pub(crate) mod error;
pub(crate) mod quota;
pub(crate) mod reply;
#[cfg(test)]
mod tests;
