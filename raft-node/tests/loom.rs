//! Model checking of the files whose state a member's threads share.
//!
//! The simulator runs the pump and never this code, so `loom` explores it: it runs each model below
//! many times, with a different schedule of its threads each time, and reports a deadlock where a
//! wakeup was lost. This test compiles the crate's own files with loom's locks and atomics in place
//! of the standard library's; that is why those files import them from `crate::sync`.
//!
//! | model | files |
//! |---|---|
//! | `quota` | `requests/quota.rs` |
//! | `reply` | `requests/reply.rs` |
//! | `scheduler` | `member/mailbox.rs`, `member/scheduler.rs`, `requests/batcher.rs` |
//!
//! Deliberately not modelled: tokio's `Notify`, which wakes the driver. Tokio has its own models of
//! it; here a call of it is one step.

#[path = "loom/models.rs"]
mod models;
#[path = "loom/sync.rs"]
mod sync;

pub(crate) use raft_node::Consistency;

mod pump {
    pub(crate) use raft_node::pump::{ChangeError, Clients, Event};
}

mod sessions {
    pub(crate) use raft_node::{SessionAnswer, SessionError};
}

mod transport {
    pub(crate) use raft_node::Envelope;
}

#[expect(dead_code, reason = "the models call a part of each file")]
#[path = "../src/requests"]
mod requests {
    pub(crate) mod batcher;
    pub(crate) mod error;
    pub(crate) mod quota;
    pub(crate) mod reply;
}

#[expect(dead_code, reason = "the models call a part of each file")]
#[path = "../src/member"]
mod member {
    pub(crate) mod clients;
    pub(crate) mod mailbox;
    pub(crate) mod scheduler;
}
