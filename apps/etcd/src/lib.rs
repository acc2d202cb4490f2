//! An etcd v3 server on the Kontiki engine.
//!
//! A request that changes something becomes a [`command`] in the replicated log; the [`Machine`]
//! applies it to the multi-version key space ([`mvcc`]) on every member, in one module for each
//! kind of request ([`range`], [`put`], [`delete`], [`txn`], [`compact`]). A read request is
//! answered from the member's own key space, after a barrier unless the client asks for a
//! serializable read.
//!
//! The key space is in memory. The engine takes snapshots of it, and restores them.
//!
//! Revisions, answers and error texts are those of etcd 3.4; `tests/against_etcd` compares them
//! with a real server. Absent: watches, leases, authentication, and the maintenance of a database
//! file, which does not exist here.

pub mod addresses;
pub mod alarms;
pub mod api;
pub mod client;
pub mod command;
pub mod compact;
pub mod delete;
pub mod engine;
pub mod errors;
pub mod limits;
pub mod machine;
pub mod mvcc;
pub mod put;
pub mod range;
pub mod server;
pub mod shared;
pub mod txn;

mod admin;
mod answer;
mod auth;
mod authority;
mod cluster;
mod front;
mod kv;
mod maintenance;
mod member;
mod membership;
mod snapshot;

pub use addresses::MemberAddresses;
pub use client::Client;
pub use engine::Engine;
pub use limits::ServerLimits;
pub use machine::Machine;
pub use member::Profile;
pub use server::Server;
