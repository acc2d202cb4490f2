//! To which member and cluster a store belongs.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::NodeId;

/// The id of a cluster: a digest of its first membership and a name or nonce, so that the members
/// of two different bootstraps never accept each other's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A random number that identifies one incarnation of a store.
///
/// A durable store keeps it for ever; a volatile one draws it at each start. A peer that has seen
/// another store id for a member knows that this member has lost its votes and entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoreId(pub u64);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The cluster, node and incarnation of a store. Written once, before the first entry, and never
/// changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster that the store belongs to.
    pub cluster: ClusterId,
    /// The member that the store belongs to.
    pub node: NodeId,
    /// The incarnation of the store.
    pub store: StoreId,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {} (store {})", self.node, self.cluster, self.store)
    }
}
