//! One running member of a Kontiki cluster.
//!
//! ```text
//!   node -> start -> member -> { requests, pump, transport, application }
//! ```
//!
//! | module | |
//! |---|---|
//! | `node`, `session`, `typed_node` | the handles of a running member and of a session |
//! | `start`, `restore`, `config` | starting one, from its log and its newest snapshot |
//! | `member` | one running member on tokio |
//! | [`pump`] | the protocol and everything around it that needs no thread; the simulator runs it |
//! | `requests` | clients that wait for an answer |
//! | `transport` | messages between members, and the trait of what carries them |
//! | `application` | the state machine that an application implements |
//! | `snapshots` | snapshot files |
//! | `sessions` | the table of client sessions, and the bytes of their entries |
//! | `features` | which kinds of entries a cluster may write |
//! | `clock` | what time it is |
//! | `bootstrap`, `data_dir`, `peers_file` | the first write to a store, and a member's directory |
//! | `recover` | a new cluster out of what a member holds whose cluster lost its majority |
//!
//! Dependencies point down only, and no two modules depend on each other.
//!

mod application;
mod bootstrap;
mod clock;
mod config;
mod data_dir;
mod engine_state;
mod features;
mod member;
mod node;
mod panics;
mod peers_file;
pub mod pump;
mod recover;
mod requests;
mod restore;
mod session;
mod sessions;
mod snapshots;
mod start;
mod sync;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod test_support;
mod transport;
mod typed_node;

pub use application::{
    Access, Application, Committed, Concurrent, ConcurrentMachine, ConcurrentOptions, Fatal,
    KeyRange, Replies, Snapshot, SnapshotState, StateMachine,
};
pub use bootstrap::{BootstrapError, bootstrap, cluster_id, join};
pub use config::{NodeConfig, Timing};
pub use data_dir::{DataDir, DataDirError};
pub use engine_state::EngineState;
pub use features::{FEATURE_LEVEL, FIRST_LEVEL, level_of_version, version_of_level};
pub use member::admission::{PeerRecord, PeerStores};
pub use member::clients::ReadAnswer;
pub use member::status::{NodeEvent, NodeStatus};
pub use node::Node;
pub use peers_file::PeersFile;
pub use pump::{
    CatchingUp, ChangeError, ChangeProgress, ChangeStage, Limits, TakenSnapshot, TransferError,
};
pub use recover::{RecoverError, Recovery, Survivor};
pub use requests::consistency::Consistency;
pub use requests::error::{ProposeError, ReadError, SnapshotError};
pub use restore::RestoreError;
pub use session::{Request, Session};
pub use sessions::{
    SessionAnswer, SessionError, SessionId, SessionLimits, SessionRequest, SessionTable,
};
pub use snapshots::{
    DamagedSnapshot, NewSnapshot, SnapshotDir, SnapshotHead, SnapshotReader, SnapshotWriter,
    StoredSnapshot, Unsound, UnusableSnapshot,
};
pub use start::StartError;
pub use transport::{
    Content, Entries, Envelope, Forward, ForwardAnswer, InProcessNetwork, Inbound,
    PROTOCOL_VERSION, PeerRejected, SnapshotId, SnapshotMessage, Transport,
};
pub use typed_node::{TypedError, TypedNode, TypedRequest, TypedSession};
