//! Which peers may talk to a member, and which store each of them must have.
//!
//! A member's votes and acknowledgements are in its store. If a peer comes back with another store,
//! it has lost the votes and entries that it acknowledged, and must not vote as if it still had
//! them. So a member remembers the store id of each peer:
//!
//! ```text
//!   hello --admit--> both sides' verdicts --confirm--> remembered, and saved
//! ```
//!
//! - A store id is recorded only after a handshake that both sides accepted, since any process that
//!   has the cluster's id can send a hello.
//! - It is recorded only for members of the membership in force, so the membership bounds the
//!   memory.
//! - It is saved in the member's directory, where it has one ([`PeerRecord`]), so that a peer whose
//!   directory was wiped is refused also by members that were restarted meanwhile.
//!
//! Deliberately absent: how a member that lost its store comes back. That requires a membership
//! change.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::io;
use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::types::{ClusterId, Identity, Membership, NodeId, StoreId};
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{error, warn};

use crate::transport::PeerRejected;

/// The most logged refusals that are remembered; a full set is cleared.
const MAX_LOGGED: usize = 1024;

/// The store ids of peers, by node.
pub type PeerStores = BTreeMap<NodeId, StoreId>;

/// Where a member keeps the store ids of its peers across restarts. [`PeersFile`](crate::PeersFile)
/// is one, in the member's directory.
pub trait PeerRecord: Debug + Send + Sync {
    /// Returns what was saved last for this cluster, or an empty map if nothing was ever saved for
    /// it. Called once, when a member starts.
    ///
    /// # Errors
    /// The record cannot be read, or is damaged: the member does not start.
    fn load(&self, cluster: ClusterId) -> io::Result<PeerStores>;

    /// Replaces what was saved, durably and as a whole. May block; the member calls it on a thread
    /// where that is allowed, one call at a time, whenever it has learned of a new peer.
    ///
    /// # Errors
    /// The old content is still there, or the new content is. The member logs the error, continues,
    /// and saves again with the next new peer.
    fn save(&self, cluster: ClusterId, stores: &PeerStores) -> io::Result<()>;
}

/// The peers whose store ids a member has recorded.
pub(crate) struct Admission {
    own: Identity,
    record: Option<Arc<dyn PeerRecord>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    stores: PeerStores,
    /// The refusals that were logged already, by peer and kind.
    logged: HashSet<(NodeId, Discriminant<PeerRejected>)>,
    /// The save that was started last; each save waits for the one before it.
    saving: Option<JoinHandle<()>>,
}

impl Admission {
    /// # Errors
    /// The record cannot be read.
    pub(crate) fn load(
        own: Identity,
        record: Option<Arc<dyn PeerRecord>>,
    ) -> io::Result<Admission> {
        let stores = record.as_ref().map(|record| record.load(own.cluster)).transpose()?;
        let known = Known { stores: stores.unwrap_or_default(), ..Known::default() };
        let known = Mutex::new(known);
        Ok(Admission { own, record, known })
    }

    /// Whether a peer may talk to this member. Records nothing about the peer. A refusal is logged
    /// once for each peer and kind, until the peer is admitted.
    ///
    /// # Errors
    /// The peer may not talk to this member.
    pub(crate) fn admit(&self, peer: Identity) -> Result<(), PeerRejected> {
        let mut known = self.known();
        let verdict = self.check(peer, &known.stores);
        match &verdict {
            Ok(()) => known.logged.retain(|(node, _)| *node != peer.node),
            Err(rejected) => {
                if known.logged.len() >= MAX_LOGGED {
                    known.logged.clear();
                }
                if known.logged.insert((peer.node, discriminant(rejected))) {
                    error!(node = %self.own.node, "{rejected}");
                }
            }
        }
        verdict
    }

    /// Called once both sides have accepted each other. Records the store of a new peer, if the
    /// peer is a member.
    ///
    /// # Errors
    /// Another handshake was confirmed first, with another store: the peer may not talk to this
    /// member.
    pub(crate) fn confirm(
        &self,
        peer: Identity,
        membership: Option<&Membership>,
    ) -> Result<(), PeerRejected> {
        self.admit(peer)?;
        let mut known = self.known();
        if membership.is_some_and(|membership| membership.contains(peer.node))
            && let Entry::Vacant(new) = known.stores.entry(peer.node)
        {
            new.insert(peer.store);
            self.save(&mut known);
        }
        self.check(peer, &known.stores)
    }

    /// Waits until every recorded store id is saved.
    pub(crate) async fn saved(&self) {
        let saving = self.known().saving.take();
        if let Some(saving) = saving {
            // An error means that the task has ended, too.
            let _ = saving.await;
        }
    }

    fn check(&self, peer: Identity, stores: &PeerStores) -> Result<(), PeerRejected> {
        let (ours, node) = (self.own, peer.node);
        if peer.cluster != ours.cluster {
            let (theirs, ours) = (peer.cluster, ours.cluster);
            return Err(PeerRejected::OtherCluster { node, theirs, ours });
        }
        if node == ours.node {
            return Err(PeerRejected::OwnId(node));
        }
        match stores.get(&node) {
            Some(known) if *known != peer.store => {
                Err(PeerRejected::OtherStore { node, theirs: peer.store, known: *known })
            }
            _ => Ok(()),
        }
    }

    /// Saves in the background, since the caller must not block: a peer that is lost in a crash
    /// before the save ends is learned again.
    fn save(&self, known: &mut Known) {
        let Some(record) = self.record.clone() else { return };
        let (own, stores, before) = (self.own, known.stores.clone(), known.saving.take());
        known.saving = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let saved = spawn_blocking(move || record.save(own.cluster, &stores)).await;
            if let Ok(Err(error)) = saved {
                warn!(node = %own.node, %error, "the store ids of the peers could not be saved");
            }
        }));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use bytes::Bytes;
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Metadata, Subscriber};

    use super::*;

    /// A record in memory that counts how often it was saved.
    #[derive(Debug, Default)]
    struct Memory {
        saved: Mutex<(PeerStores, u32)>,
    }

    impl PeerRecord for Memory {
        fn load(&self, _cluster: ClusterId) -> io::Result<PeerStores> {
            Ok(self.saved.lock().expect("no panic").0.clone())
        }

        fn save(&self, _cluster: ClusterId, stores: &PeerStores) -> io::Result<()> {
            let mut saved = self.saved.lock().expect("no panic");
            *saved = (stores.clone(), saved.1 + 1);
            Ok(())
        }
    }

    fn node(number: u64) -> NodeId {
        NodeId::new(number).expect("not zero")
    }

    fn peer(number: u64, store: u64) -> Identity {
        Identity { cluster: ClusterId(7), node: node(number), store: StoreId(store) }
    }

    fn members(numbers: &[u64]) -> Membership {
        let members = numbers.iter().map(|number| (node(*number), Bytes::new()));
        Membership::of_voters(members).expect("sound")
    }

    fn admission(record: &Arc<Memory>) -> Admission {
        let record = Arc::clone(record) as Arc<dyn PeerRecord>;
        Admission::load(peer(1, 1), Some(record)).expect("loaded")
    }

    /// What went wrong: a process that was started by mistake, with the id of a member and an empty
    /// directory, sent its hello first, and the real member was refused from then on.
    #[tokio::test]
    async fn a_hello_that_was_not_accepted_by_both_sides_pins_no_store() {
        let (record, members) = (Arc::<Memory>::default(), members(&[1, 2, 3]));
        let admission = admission(&record);
        assert_eq!(admission.admit(peer(3, 666)), Ok(()));
        assert_eq!(admission.confirm(peer(3, 33), Some(&members)), Ok(()));
        let wiped =
            PeerRejected::OtherStore { node: node(3), theirs: StoreId(666), known: StoreId(33) };
        assert_eq!(admission.admit(peer(3, 666)), Err(wiped));
        assert_eq!(admission.confirm(peer(3, 666), Some(&members)), Err(wiped));
    }

    #[tokio::test]
    async fn a_store_is_known_after_a_restart_and_only_of_a_member() {
        let (record, members) = (Arc::<Memory>::default(), members(&[1, 2, 3]));
        let before = admission(&record);
        for _ in 0..2 {
            assert_eq!(before.confirm(peer(2, 22), Some(&members)), Ok(()));
            assert_eq!(before.confirm(peer(9, 99), Some(&members)), Ok(()));
        }
        before.saved().await;
        let saved = record.saved.lock().expect("no panic").clone();
        assert_eq!(saved, (PeerStores::from([(node(2), StoreId(22))]), 1));
        let after = admission(&record);
        assert!(after.admit(peer(2, 23)).is_err());
        assert_eq!(after.admit(peer(2, 22)), Ok(()));
        assert_eq!(after.admit(peer(9, 98)), Ok(()), "not a member, so its store is not recorded");
    }

    /// Counts the lines that are logged on this thread.
    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicU32>);

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[tokio::test]
    async fn a_refusal_is_logged_once_until_the_peer_is_admitted() {
        let lines = Lines::default();
        let _logging = tracing::subscriber::set_default(lines.clone());
        let admission = admission(&Arc::default());
        let foreign = Identity { cluster: ClusterId(8), ..peer(2, 2) };
        let refused = |times| {
            (0..times).for_each(|_| assert!(admission.admit(foreign).is_err()));
            lines.0.load(Ordering::Relaxed)
        };
        assert_eq!(refused(3), 1);
        assert!(admission.admit(Identity { node: node(1), ..peer(1, 9) }).is_err());
        assert_eq!(refused(1), 2, "each kind of refusal is logged");
        assert_eq!(admission.admit(peer(2, 2)), Ok(()));
        assert_eq!(refused(3), 3, "logged again since it was admitted in between");
    }
}
