//! The one explicit step that turns blank stores into a cluster, and the one that prepares a blank
//! store to join a cluster.
//!
//! Every initial member is bootstrapped with the same name and the same membership. Bootstrapping
//! writes two things, the first durable before the second: the identity; then entry 1, the
//! membership, at term 0. A store with an identity and nothing else is still blank, so a bootstrap
//! that was cut short is simply repeated.

use raft_core::storage::record::encode_membership;
use raft_core::storage::{LogError, Store, WriteBatch};
use raft_core::types::{
    ClusterId, Entry, EntryId, EntryKind, Identity, LogIndex, Membership, NodeId, StoreId, Term,
};
use thiserror::Error;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Why a store could not be bootstrapped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The node is not in the membership. Nothing was written.
    #[error("node {0} is not a member of the cluster that it is to bootstrap")]
    NotAMember(NodeId),
    /// The store belongs to another cluster, node or membership. Nothing was written: choose an
    /// empty store, or the name and members that this store was bootstrapped with.
    #[error("the store belongs to {found}, not to node {node} of cluster {cluster}")]
    OtherIdentity {
        /// The member that the store belongs to.
        found: Identity,
        /// The node that was asked for.
        node: NodeId,
        /// The cluster that was asked for.
        cluster: ClusterId,
    },
    /// The store failed. Open it again and repeat.
    #[error("the store failed while being bootstrapped")]
    Store(#[from] LogError),
}

/// The id of the cluster that this name and membership define: a digest, so that two different
/// bootstraps never take each other for one cluster.
pub fn cluster_id(name: &str, membership: &Membership) -> ClusterId {
    let mut digest = Xxh3::new();
    digest.update(&(name.len() as u64).to_le_bytes());
    digest.update(name.as_bytes());
    digest.update(&encode_membership(membership));
    ClusterId(digest.digest())
}

/// Bootstraps a blank store as one of the initial members. Repeating it is harmless: a store that
/// was bootstrapped with the same arguments, and was used since, stays as it is.
pub async fn bootstrap(
    store: &mut dyn Store,
    name: &str,
    node: NodeId,
    membership: &Membership,
) -> Result<Identity, BootstrapError> {
    if !membership.contains(node) {
        return Err(BootstrapError::NotAMember(node));
    }
    let identity = join(store, cluster_id(name, membership), node).await?;
    if store.bounds().is_blank() {
        let id = EntryId::new(Term::ZERO, LogIndex::new(1));
        let first = Entry::new(id, EntryKind::Membership, encode_membership(membership));
        store.write(WriteBatch::of_entries(vec![first])).await?;
    }
    Ok(identity)
}

/// Prepares a blank store for a node that is to join a running cluster, whose members have this
/// cluster id ([`NodeStatus::identity`](crate::NodeStatus)). `node` must be greater than every node
/// id that the cluster has used ([`Membership::highest`]). Only the identity is written: the store
/// stays blank until a leader sends it the log. Repeating it is harmless.
///
/// # Errors
/// [`BootstrapError::OtherIdentity`]: nothing was written. [`BootstrapError::Store`]: open the
/// store again and repeat.
pub async fn join(
    store: &mut dyn Store,
    cluster: ClusterId,
    node: NodeId,
) -> Result<Identity, BootstrapError> {
    match store.load_identity().await? {
        Some(found) if found.cluster == cluster && found.node == node => Ok(found),
        Some(found) => Err(BootstrapError::OtherIdentity { found, node, cluster }),
        None => {
            let identity = Identity { cluster, node, store: StoreId(random_number()) };
            store.save_identity(&identity).await?;
            Ok(identity)
        }
    }
}

/// A number that another start of any member draws with a probability of only 2^-64: the standard
/// library's random hash keys, the time and the process id, mixed.
pub(crate) fn random_number() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.map_or(0, |since| since.as_nanos());
    let keyed = RandomState::new().hash_one((nanos, std::process::id()));
    xxh3_64(&keyed.to_le_bytes())
}
