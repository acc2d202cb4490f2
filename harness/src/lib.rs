//! Tests for every crate of the workspace: the simulator, the conformance suite, and the checkers.
//!
//! | module | |
//! |---|---|
//! | [`sim`] | a whole cluster on one thread, with a network, clocks and disks that fail |
//! | [`mod@conformance`] | whether a store keeps the contract; one macro line runs every check |
//! | [`checks`] | what must hold: the laws across members, the clients' order, convergence |
//!
//! The simulator runs the same pump as a node, on any store; it depends on no backend. The disk
//! whose power is cut under stores is the crate `crash-disk`. `docs/testing.md` says where each
//! part is checked, and how to replay a seed.

pub mod checks;
pub mod conformance;
mod digest;
mod rng;
pub mod sim;
