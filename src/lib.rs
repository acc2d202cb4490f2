//! A Raft engine whose log you choose: memory, flat file, SQLite, RocksDB, or a store of your own.
//!
//! A complete replicated counter:
//!
//! ```
//! use kontiki::{Application, InProcessNetwork, LogConfig, Membership, NodeConfig, NodeId,
//! TypedNode};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Counter(u64);
//! impl Application for Counter {
//!     type Command = u64;
//!     type Response = u64;
//!     type Query = ();
//!     type Answer = u64;
//!     fn apply(&mut self, add: u64) -> u64 { self.0 += add; self.0 }
//!     fn read(&self, (): ()) -> u64 { self.0 }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let id = NodeId::new(1).unwrap();
//! let mut log = LogConfig::from_name("memory", "unused")?.open()?;
//! kontiki::bootstrap(log.as_mut(), "demo", id, &Membership::of_voters([(id, "".into())])?).await?;
//! let network = InProcessNetwork::new();
//! let node = TypedNode::start(NodeConfig::default(), log, network.transport(), Counter(0)).await?;
//! node.node().wait_for_leader().await;
//! assert_eq!(node.propose(&5).await?, 5);
//! assert_eq!(node.read(&()).await?, 5);
//! # Ok(())
//! # }
//! ```
//!
//! With three members, give each its own log and the same membership, and use [`TcpTransport`] with
//! their addresses as the members' metadata; `examples/kv.rs` does.
//!
//! | your own | or provided |
//! |---|---|
//! | an [`Application`] (types) or a [`StateMachine`] (bytes) | |
//! | a [`Store`](storage::Store) | [`LogConfig`]; each of its logs is a feature |
//! | a [`Transport`] | [`TcpTransport`], [`InProcessNetwork`] |
//!
//! A member runs on the runtime on which it is started. A single group is fastest on a
//! current-thread runtime with up to about a thousand clients.

mod look;
mod open;

#[cfg(feature = "file")]
pub use log_file::Io;
pub use open::{LogConfig, OpenError};
pub use raft_core::types::{Membership, NodeId};
pub use raft_core::{consensus, storage, types};
pub use raft_net::{TcpOptions, TcpTransport};
pub use raft_node::{
    Access, Application, BootstrapError, CatchingUp, ChangeError, ChangeProgress, ChangeStage,
    Committed, Concurrent, ConcurrentMachine, ConcurrentOptions, Consistency, Content,
    DamagedSnapshot, DataDir, DataDirError, Envelope, Fatal, InProcessNetwork, Inbound, KeyRange,
    Limits, Node, NodeConfig, NodeEvent, NodeStatus, PeerRecord, PeerRejected, PeerStores,
    PeersFile, ProposeError, ReadAnswer, ReadError, RecoverError, Recovery, Replies, Request,
    RestoreError, Session, SessionError, SessionId, Snapshot, SnapshotDir, SnapshotError,
    SnapshotHead, SnapshotState, StartError, StateMachine, StoredSnapshot, Survivor, TakenSnapshot,
    Timing, TransferError, Transport, TypedError, TypedNode, TypedRequest, TypedSession, Unsound,
    UnusableSnapshot, bootstrap, cluster_id, join,
};

/// The examples of the README are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of the guide for application authors are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/applications.md")]
struct Applications;
