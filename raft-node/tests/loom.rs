//! The files that several threads of a member use, in every interleaving that matters.
//!
//! The simulator runs the pump and never this code, so `loom` explores it: it runs each model below
//! again and again, with another schedule of its threads each time, and reports a deadlock where a
//! wakeup was lost. The models compile the crate's own files, with loom's locks and atomics in
//! place of the standard library's; that is why those files take them from `crate::sync`.
//!
//! | model | files |
//! |---|---|
//! | `quota` | `requests/quota.rs` |
//! | `reply` | `requests/reply.rs` |
//! | `scheduler` | `member/mailbox.rs`, `member/scheduler.rs`, `requests/batcher.rs` |
//!
//! Deliberately not modelled: tokio's `Notify`, which wakes the driver. Tokio has models of its
//! own; a call is one step here.

#[path = "loom/models.rs"]
mod models;
#[path = "loom/sync.rs"]
mod sync;

mod pump {
    pub(crate) use raft_node::pump::{Clients, Event};
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
