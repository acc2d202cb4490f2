//! One running member of a Kontiki cluster.
//!
//! ```text
//!   client -> node -> pump -> core -> store -> pump -> machine -> client
//! ```
//!
//! [`pump`] is the synchronous heart: the protocol with everything around it that needs no thread;
//! the simulator runs it as it is. [`Node`] puts it on tokio: a driver task that takes turns, a
//! thread for a store that may block, another for its reader, a task for a machine that is not
//! cheap. An application brings a [`StateMachine`], a store and a [`Transport`].
//!
//! Absent, with their places: snapshots, changes of membership, client sessions.

mod bootstrap;
mod cell;
mod data_dir;
mod desk;
mod engine;
mod entries;
mod error;
mod hand;
mod in_process;
mod inbound;
mod inbox;
mod metrics;
mod node;
pub mod pump;
mod receive;
mod room;
mod runner;
mod shared;
mod state_machine;
mod status;
mod tasks;
mod transport;
mod turns;
mod typed;
mod waiters;

pub use bootstrap::{BootstrapError, bootstrap, cluster_id};
pub use data_dir::{DataDir, DataDirError};
pub use entries::Entries;
pub use error::{ProposeError, ReadError};
pub use in_process::InProcessNetwork;
pub use inbound::{Inbound, Stranger};
pub use node::{Node, NodeConfig, StartError, Timing};
pub use pump::Limits;
pub use state_machine::{Committed, Replies, StateMachine};
pub use status::{NodeEvent, NodeStatus};
pub use transport::{Content, Envelope, Forward, ForwardAnswer, Transport};
pub use typed::{Application, TypedError, TypedNode};
