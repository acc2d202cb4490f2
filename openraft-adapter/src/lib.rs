//! The conformance suite on a log store that was written for openraft's `RaftLogStorage`.
//!
//! [`OpenraftLog`] turns a store of openraft 0.9 ([`v09`]) or 0.10 ([`v010`]) into a store of this
//! project, so that [`harness::conformance!`] runs on it. Parts of the contract that openraft's
//! trait does not have are left out by declaration ([`LACKS`]); requests that openraft never makes
//! do not reach the store. The guide is `docs/openraft-stores.md`; the verdict on openraft's own
//! stores is in `docs/conformance.md`.
//!
//! ```text
//!   the suite -> OpenraftLog: checks requests, keeps poison and identity
//!                  |                         |
//!                Tasks: a runtime          Reader: checks ranges
//!                  |                         |
//!                Foreign (v09, v010): the verbs of openraft's trait
//! ```
//!
//! | module | |
//! |---|---|
//! | `log` | the store: each verb becomes verbs of openraft's trait |
//! | `reader` | its readers |
//! | `shared` | the state that the two share |
//! | `tasks` | the runtime that the store below works on |
//! | `foreign` | the interface to one version of openraft, in this project's types |
//! | `v09`, `v010` | the two versions |
//!
//! Absent: openraft's state machines and snapshots, and `save_committed`.

use harness::conformance::Lacks;

/// The examples of the guide are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/openraft-stores.md")]
struct Guide;

mod foreign;
mod log;
mod reader;
mod shared;
mod tasks;
pub mod v010;
pub mod v09;

pub use foreign::{Data, Failed, Foreign, ForeignReader, bytes_of, text_of};
pub use log::{Declared, OpenraftLog};

/// The parts of the contract that openraft's trait does not have, to be declared for a place:
/// `in_dir(...).that_lacks(LACKS)`.
///
/// - No identity: the store does not record which member it belongs to.
/// - No reset: a snapshot is installed by a truncation and a purge beyond the end, which are two
///   steps.
/// - No promise that a second opener is kept out.
/// - No promise that a purge gives space back.
///
/// A commit hint needs no declaration, since any store may forget it. Damage is not tested because
/// the adapter declares `Detects::Nothing`.
pub const LACKS: Lacks = Lacks { identity: true, reset: true, lock: true, space: true };
