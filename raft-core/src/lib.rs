//! The data types, the storage contract and the consensus protocol of Kontiki.
//!
//! This crate does no I/O. It is `no_std` with `alloc`, so that the compiler proves what the
//! design promises: no clock, no thread, no file, no socket and no hash order can reach the
//! protocol. It has three layers, and dependencies between them only point down:
//!
//! - [`types`]: the data types that survive a crash (ids, entries, memberships, hard state);
//! - [`storage`]: the contract that every log backend keeps, with numbered promises (P1, P2, ...);
//! - [`consensus`]: the protocol, one file per module, with numbered laws (L1, L2, ...).
//!
//! `storage` and `consensus` both depend on `types` and not on each other: the protocol compiles
//! without the storage contract.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod consensus;
pub mod storage;
pub mod types;
