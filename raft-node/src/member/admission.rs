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
//! - It is recorded only for members, and forgotten an election timeout after the member's removal
//!   is committed, so the memberships bound the memory.
//! - It is saved in the member's directory, where it has one ([`PeerRecord`]), so that a peer whose
//!   directory was wiped is refused also by members that were restarted meanwhile.
//!
//! A member that was removed is refused for good, whatever its store. No record of former members
//! is needed for this: a membership keeps the greatest node id that was ever used, and a new member
//! has a greater one. So a node that is no member, with an id up to that one, was removed.
//!
//! Deliberately absent: how a member that lost its store comes back. It joins as a new member.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::io;
use std::mem::{Discriminant, discriminant};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::types::{ClusterId, Identity, Membership, NodeId, StoreId};
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{error, warn};

use crate::features::version_of_level;
use crate::transport::PeerRejected;

/// The most logged refusals that are remembered; a full set is cleared.
const MAX_LOGGED: usize = 1024;

/// The most peers whose announcements are kept; more than a membership has. Those of nodes that are
/// no members are dropped when there are so many.
const MAX_ANNOUNCED: usize = 256;

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
    /// The lowest version of the wire format that a peer's program must speak.
    lowest_version: AtomicU16,
}

#[derive(Default)]
struct Known {
    stores: PeerStores,
    /// The store and the version that each peer has announced in a handshake that both sides
    /// accepted; also of nodes that may join later.
    announced: BTreeMap<NodeId, (StoreId, u16)>,
    /// The memberships whose members are connected, the oldest first: those in force from the
    /// commit index on, and those that were committed shortly before.
    memberships: Vec<Arc<Membership>>,
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
        Ok(Admission { own, record, known, lowest_version: AtomicU16::new(1) })
    }

    /// The lowest version of the wire format that a peer's program must speak.
    pub(crate) fn lowest_version(&self) -> u16 {
        self.lowest_version.load(Ordering::Relaxed)
    }

    /// This is the feature level of the cluster now.
    pub(crate) fn note_level(&self, level: u32) {
        self.lowest_version.store(version_of_level(level), Ordering::Relaxed);
    }

    /// Whether a peer may talk to this member. Records nothing about the peer. A refusal is logged
    /// once for each peer and kind, until the peer is admitted.
    ///
    /// # Errors
    /// The peer may not talk to this member.
    pub(crate) fn admit(&self, peer: Identity) -> Result<(), PeerRejected> {
        let mut known = self.known();
        let verdict = self.check(peer, &known);
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
    /// peer is a member. Returns whether the peer's store or version is news.
    ///
    /// # Errors
    /// Another handshake was confirmed first, with another store: the peer may not talk to this
    /// member.
    pub(crate) fn confirm(&self, peer: Identity, version: u16) -> Result<bool, PeerRejected> {
        self.admit(peer)?;
        let mut known = self.known();
        self.check(peer, &known)?;
        if known.announced.len() >= MAX_ANNOUNCED {
            let announced = std::mem::take(&mut known.announced);
            let of_members = announced.into_iter().filter(|(node, _)| known.is_member(*node));
            known.announced = of_members.collect();
        }
        let announced = (peer.store, version);
        let before = known.announced.insert(peer.node, announced);
        self.record_stores(&mut known);
        Ok(before != Some(announced))
    }

    /// The store of a peer, if a membership or a handshake has told it.
    pub(crate) fn store_of(&self, node: NodeId) -> Option<StoreId> {
        self.known().store(node)
    }

    /// Whether a node is a member, is being removed, or was removed just now.
    pub(crate) fn is_member(&self, node: NodeId) -> bool {
        self.known().is_member(node)
    }

    /// The members of other memberships are connected now; the oldest comes first. The stores of
    /// nodes that are members no longer are forgotten.
    pub(crate) fn note_memberships(&self, connected: &[Arc<Membership>]) {
        let mut known = self.known();
        known.memberships = connected.to_vec();
        self.record_stores(&mut known);
    }

    /// Records the store of each member that has announced it, and forgets those of other nodes.
    fn record_stores(&self, known: &mut Known) {
        let mut stores = known.stores.clone();
        for (node, (store, _)) in &known.announced {
            stores.entry(*node).or_insert(*store);
        }
        stores.retain(|node, _| known.is_member(*node));
        if stores != known.stores {
            known.stores = stores;
            self.save(known);
        }
    }

    /// Waits until every recorded store id is saved.
    pub(crate) async fn saved(&self) {
        let saving = self.known().saving.take();
        if let Some(saving) = saving {
            // An error means that the task has ended, too.
            let _ = saving.await;
        }
    }

    fn check(&self, peer: Identity, known: &Known) -> Result<(), PeerRejected> {
        let (ours, node) = (self.own, peer.node);
        if peer.cluster != ours.cluster {
            let (theirs, ours) = (peer.cluster, ours.cluster);
            return Err(PeerRejected::OtherCluster { node, theirs, ours });
        }
        if node == ours.node {
            return Err(PeerRejected::OwnId(node));
        }
        if known.is_removed(node) {
            return Err(PeerRejected::Removed(node));
        }
        match known.store(node) {
            Some(known) if known != peer.store => {
                Err(PeerRejected::OtherStore { node, theirs: peer.store, known })
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

impl Known {
    fn is_member(&self, node: NodeId) -> bool {
        self.memberships.iter().any(|membership| membership.contains(node))
    }

    /// Whether a node was removed, or has an id that can no longer be a member's. The oldest
    /// membership was committed.
    fn is_removed(&self, node: NodeId) -> bool {
        let highest = self.memberships.first().map(|committed| committed.highest());
        highest.is_some_and(|highest| node <= highest) && !self.is_member(node)
    }

    /// The store of a peer, from the memberships or from a handshake.
    fn store(&self, node: NodeId) -> Option<StoreId> {
        let stores = self.memberships.iter().map(|membership| membership.store(node));
        stores.flatten().next().or(self.stores.get(&node).copied())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use raft_core::types::MembershipParts;
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

    /// These members; a greatest id above theirs means that others have left.
    fn members(numbers: &[u64], highest: u64) -> Vec<Arc<Membership>> {
        let voters = numbers.iter().copied().map(node).collect();
        let highest = Some(node(highest));
        let parts = MembershipParts { voters, highest, ..MembershipParts::default() };
        vec![Arc::new(Membership::new(parts).expect("sound"))]
    }

    /// The admission of member 1 of three.
    fn admission(record: &Arc<Memory>) -> Admission {
        let record = Arc::clone(record) as Arc<dyn PeerRecord>;
        let admission = Admission::load(peer(1, 1), Some(record)).expect("loaded");
        admission.note_memberships(&members(&[1, 2, 3], 3));
        admission
    }

    fn confirm(admission: &Admission, number: u64, store: u64) -> Result<(), PeerRejected> {
        admission.confirm(peer(number, store), 2).map(drop)
    }

    /// What went wrong: a process that was started by mistake, with the id of a member and an empty
    /// directory, sent its hello first, and the real member was refused from then on.
    #[tokio::test]
    async fn a_hello_that_was_not_accepted_by_both_sides_pins_no_store() {
        let admission = admission(&Arc::default());
        assert_eq!(admission.admit(peer(3, 666)), Ok(()));
        assert_eq!(confirm(&admission, 3, 33), Ok(()));
        let wiped =
            PeerRejected::OtherStore { node: node(3), theirs: StoreId(666), known: StoreId(33) };
        assert_eq!(admission.admit(peer(3, 666)), Err(wiped));
        assert_eq!(confirm(&admission, 3, 666), Err(wiped));
    }

    #[tokio::test]
    async fn a_store_is_known_after_a_restart_and_only_of_a_member() {
        let record = Arc::<Memory>::default();
        let before = admission(&record);
        for _ in 0..2 {
            assert_eq!(confirm(&before, 2, 22), Ok(()));
            assert_eq!(confirm(&before, 9, 99), Ok(()));
        }
        before.saved().await;
        let saved = record.saved.lock().expect("no panic").clone();
        assert_eq!(saved, (PeerStores::from([(node(2), StoreId(22))]), 1));
        let after = admission(&record);
        assert!(after.admit(peer(2, 23)).is_err());
        assert_eq!(after.admit(peer(2, 22)), Ok(()));
        assert_eq!(after.admit(peer(9, 98)), Ok(()), "not a member, so its store is not recorded");
    }

    /// What went wrong: the stores of former members were kept for ever, and after four thousand of
    /// them the member could not read its own record.
    #[tokio::test]
    async fn the_stores_of_former_members_are_forgotten() {
        let record = Arc::<Memory>::default();
        let admission = admission(&record);
        for next in 4..50 {
            let (old, new) = (next - 2, next - 1);
            assert_eq!(confirm(&admission, old, old), Ok(()));
            assert_eq!(confirm(&admission, new, new), Ok(()));
            admission.note_memberships(&members(&[1, new, next], next));
            assert!(admission.known().stores.len() <= 2, "at member {next}");
        }
        admission.saved().await;
        let saved = record.saved.lock().expect("no panic").0.clone();
        assert_eq!(saved, PeerStores::from([(node(48), StoreId(48))]));
    }

    /// A member is not forgotten before its removal is committed, since the membership that leaves
    /// it out may be truncated.
    #[tokio::test]
    async fn a_member_that_is_being_removed_is_still_one() {
        let admission = admission(&Arc::default());
        assert_eq!(confirm(&admission, 3, 33), Ok(()));
        let (before, after) = (members(&[1, 2, 3], 3), members(&[1, 2], 3));
        admission.note_memberships(&[before, after.clone()].concat());
        assert!(admission.is_member(node(3)) && admission.admit(peer(3, 33)).is_ok());
        assert!(admission.admit(peer(3, 34)).is_err(), "its store is known");
        admission.note_memberships(&after);
        assert!(!admission.is_member(node(3)));
        assert_eq!(admission.admit(peer(3, 33)), Err(PeerRejected::Removed(node(3))));
        assert_eq!(admission.admit(peer(4, 44)), Ok(()), "it may be about to join");
    }

    /// What could go wrong: a node that connects before this member learns that it has joined was
    /// not recorded until it connected again.
    #[tokio::test]
    async fn the_store_of_a_node_that_joins_later_is_recorded_when_it_joins() {
        let admission = admission(&Arc::default());
        assert_eq!(confirm(&admission, 4, 44), Ok(()));
        assert_eq!(admission.admit(peer(4, 45)), Ok(()), "it is no member yet");
        admission.note_memberships(&members(&[1, 2, 3, 4], 4));
        assert!(admission.admit(peer(4, 45)).is_err());
        for other in 10..10_000 {
            assert_eq!(confirm(&admission, other, 1), Ok(()));
        }
        let known = admission.known();
        assert!(known.announced.len() <= MAX_ANNOUNCED && known.announced.contains_key(&node(4)));
    }

    #[tokio::test]
    async fn an_announcement_is_news_once() {
        let admission = admission(&Arc::default());
        assert_eq!(admission.confirm(peer(2, 22), 1), Ok(true));
        assert_eq!(admission.confirm(peer(2, 22), 1), Ok(false));
        assert_eq!(admission.confirm(peer(2, 22), 2), Ok(true), "it runs a newer program");
    }

    /// A member that was restarted, or that has never talked to a peer, knows its store from the
    /// membership.
    #[tokio::test]
    async fn the_membership_says_which_store_a_member_has() {
        let admission = admission(&Arc::default());
        let mut parts = members(&[1, 2, 3], 3)[0].parts().clone();
        parts.stores.insert(node(2), StoreId(22));
        admission.note_memberships(&[Arc::new(Membership::new(parts).expect("sound"))]);
        assert!(admission.admit(peer(2, 23)).is_err());
        assert_eq!(admission.admit(peer(2, 22)), Ok(()));
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
