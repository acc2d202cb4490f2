//! The primitives that threads of a member share.
//!
//! The modules that are explored under `loom` (`requests`, `member::mailbox`, `member::scheduler`)
//! take them from here. `tests/loom.rs` compiles those very files with another `sync` that
//! re-exports loom's versions, so no feature or flag changes how this crate is built for a user.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
pub(crate) use std::sync::{Mutex, MutexGuard};
pub(crate) use std::thread_local;
