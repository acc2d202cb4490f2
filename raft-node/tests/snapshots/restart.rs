//! Starts that must fail, or repeat a reset.

use std::fs;
use std::io::Write;
use std::path::Path;

use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::storage::{Store, WriteBatch};
use raft_core::types::{ClusterId, EntryId, Identity, LogIndex, NodeId, StoreId, Term};
use raft_node::{
    InProcessNetwork, Limits, Node, RestoreError, SnapshotDir, SnapshotHead, StartError, bootstrap,
    cluster_id,
};
use xxhash_rust::xxh3::xxh3_64;

use super::support::{membership_of, node_id};
use super::{Place, Sum, behaviour, propose, state};

/// A member that has taken a snapshot, and its last entry.
async fn stopped() -> (Place, EntryId) {
    let place = Place::new();
    let node = place.start(Limits::default(), Sum::new(true, &behaviour())).await;
    let node = node.expect("it starts");
    propose(&node, 1..=10).await;
    let last = node.snapshot().await.expect("taken");
    node.shutdown().await;
    (place, last)
}

async fn restart(place: &Place) -> Result<[u64; 2], StartError> {
    let node = place.start(Limits::default(), Sum::new(true, &behaviour())).await?;
    let state = state(&node).await;
    node.shutdown().await;
    Ok(state)
}

/// Adds a snapshot of the sum 1 + 2 + ... + 10 that another member took.
fn add_snapshot(place: &Place, cluster: ClusterId, writer: NodeId, last: EntryId) {
    let dir = SnapshotDir::own(place.dir.path().join("snapshots")).expect("owned");
    let head = SnapshotHead {
        writer: Identity { cluster, node: writer, store: StoreId(5) },
        last,
        membership: membership_of(1),
        feature_level: 1,
        sessions: Default::default(),
        salt: 5,
    };
    let mut new = dir.create(head).expect("created");
    new.write_all(&[10u64.to_le_bytes(), 55u64.to_le_bytes()].concat()).expect("written");
    new.keep().expect("kept");
}

fn own_cluster() -> ClusterId {
    cluster_id("snapshots", &membership_of(1))
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    let middle = bytes.len() - 50;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

fn damage_head(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    bytes[40] ^= 1;
    fs::write(path, bytes).expect("written");
}

/// Adds a snapshot, as [`add_snapshot`] does, to those that are there.
fn add_newer_snapshot(place: &Place, cluster: ClusterId, writer: NodeId, last: EntryId) {
    let older = place.snapshots().list().expect("listed");
    let older = older.into_iter().map(|last| place.snapshots().path_of(last));
    let older: Vec<_> = older.map(|path| (fs::read(&path).expect("read"), path)).collect();
    add_snapshot(place, cluster, writer, last);
    older.into_iter().for_each(|(bytes, path)| fs::write(path, bytes).expect("written"));
}

#[tokio::test]
async fn a_damaged_snapshot_is_not_needed_while_the_log_is_whole() {
    let (place, last) = stopped().await;
    damage(&place.snapshots().path_of(last));
    assert_eq!(restart(&place).await.expect("the log has everything"), [10, 55]);
}

#[tokio::test]
async fn a_member_whose_snapshot_is_damaged_and_whose_log_is_purged_does_not_start() {
    let (place, last) = stopped().await;
    place.store().await.write(WriteBatch::of_purge(last)).await.expect("purged");
    assert_eq!(restart(&place).await.expect("the snapshot has everything"), [10, 55]);
    damage(&place.snapshots().path_of(last));
    let refused = restart(&place).await.expect_err("a part of the state is lost");
    let StartError::Snapshots(RestoreError::Lost { boundary, .. }) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(*boundary, last);
    let name = place.snapshots().path_of(last);
    assert!(refused.to_string().contains(&*name.to_string_lossy()), "{refused}");
    fs::remove_file(name).expect("removed");
    let refused = restart(&place).await.expect_err("nothing has the state");
    assert!(matches!(refused, StartError::MissingPrefix { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_snapshot_that_a_newer_version_wrote_is_refused() {
    let (place, last) = stopped().await;
    let path = place.snapshots().path_of(last);
    let mut bytes = fs::read(&path).expect("read");
    bytes[8] = 3;
    let sections = u32::from_le_bytes(bytes[12..16].try_into().expect("four")) as usize;
    let checksum = xxh3_64(&[&bytes[..16], &bytes[24..32 + sections]].concat());
    bytes[16..24].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, bytes).expect("written");
    let refused = restart(&place).await.expect_err("newer");
    let says = "newer version of Kontiki (version 3 of the format)";
    assert!(refused.to_string().contains(says), "{refused}");
}

#[tokio::test]
async fn a_snapshot_of_another_cluster_is_refused() {
    let (place, last) = stopped().await;
    place.snapshots().clear().expect("removed");
    add_snapshot(&place, ClusterId(9), node_id(2), last);
    let refused = restart(&place).await.expect_err("of another cluster");
    assert!(refused.to_string().contains("is of cluster 0000000000000009, not of"), "{refused}");
}

/// The power was cut between the rename of an installed snapshot and the reset of the log.
#[tokio::test]
async fn a_start_behind_an_installed_snapshot_repeats_the_reset() {
    let (place, last) = stopped().await;
    place.snapshots().clear().expect("removed");
    let installed = EntryId::new(Term::new(last.term.get() + 5), LogIndex::new(1000));
    add_snapshot(&place, own_cluster(), node_id(2), installed);
    assert_eq!(restart(&place).await.expect("it starts"), [10, 55]);
    let recovered = place.store().await.recover().await.expect("recovered");
    assert_eq!(recovered.bounds.boundary, installed);
    assert!(recovered.hard_state.term >= installed.term, "L14: no entry is of a later term");
    assert_eq!(restart(&place).await.expect("it starts again"), [10, 55]);
}

/// Votes and acknowledgements that the log held may be lost, too.
#[tokio::test]
async fn a_log_that_lost_entries_which_its_own_snapshot_includes_does_not_start() {
    let (mut place, last) = stopped().await;
    place.log = MemoryDisk::new(SyncMode::EachWrite);
    let refused = restart(&place).await.expect_err("the log was lost");
    let StartError::Snapshots(RestoreError::LogLost { includes, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(includes, last);
    let bounds = place.store().await.recover().await.expect("recovered").bounds;
    assert_eq!(bounds.boundary, EntryId::ZERO, "nothing was changed");
}

/// What went wrong: an older sound snapshot was used, and nothing compared the log's end with the
/// name of the damaged one.
#[tokio::test]
async fn a_damaged_snapshot_shows_that_the_log_lost_entries_too() {
    for has_older in [true, false] {
        let (place, last) = stopped().await;
        if !has_older {
            place.snapshots().clear().expect("removed");
        }
        let lost = EntryId::new(last.term, LogIndex::new(last.index.get() + 100));
        add_newer_snapshot(&place, own_cluster(), node_id(1), lost);
        damage(&place.snapshots().path_of(lost));
        let refused = restart(&place).await.expect_err("the log was longer");
        let StartError::Snapshots(RestoreError::LogLost { includes, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(includes, lost);
    }
}

/// Another member took it, so an install was interrupted before the log was reset: all that this
/// member ever had is in its log.
#[tokio::test]
async fn a_damaged_snapshot_of_an_interrupted_install_is_not_needed() {
    let (place, last) = stopped().await;
    let installed = EntryId::new(last.term, LogIndex::new(last.index.get() + 100));
    add_newer_snapshot(&place, own_cluster(), node_id(2), installed);
    damage(&place.snapshots().path_of(installed));
    assert_eq!(restart(&place).await.expect("it starts"), [10, 55]);
    let bounds = place.store().await.recover().await.expect("recovered").bounds;
    assert_eq!(bounds.boundary, EntryId::ZERO, "the log was not reset");
}

#[tokio::test]
async fn a_damaged_snapshot_is_still_compared_with_the_cluster_and_the_committed_entries() {
    let (place, last) = stopped().await;
    // A sound snapshot that ends at the same entry would stay.
    place.snapshots().clear().expect("removed");
    add_snapshot(&place, ClusterId(9), node_id(2), last);
    damage(&place.snapshots().path_of(last));
    let refused = restart(&place).await.expect_err("of another cluster");
    assert!(refused.to_string().contains("is of cluster 0000000000000009"), "{refused}");

    let (place, last) = stopped().await;
    place.snapshots().clear().expect("removed");
    let other = EntryId::new(Term::new(last.term.get() + 1), LogIndex::new(3));
    add_snapshot(&place, own_cluster(), node_id(2), other);
    damage(&place.snapshots().path_of(other));
    let refused = restart(&place).await.expect_err("two histories");
    assert!(refused.to_string().contains("contradict each other"), "{refused}");
}

#[tokio::test]
async fn a_snapshot_with_a_damaged_head_beyond_the_log_is_taken_for_an_own_one() {
    let (place, last) = stopped().await;
    let beyond = EntryId::new(last.term, LogIndex::new(last.index.get() + 100));
    add_newer_snapshot(&place, own_cluster(), node_id(2), beyond);
    let path = place.snapshots().path_of(beyond);
    damage_head(&path);
    let refused = restart(&place).await.expect_err("it may be an own one");
    let StartError::Snapshots(RestoreError::MaybeLogLost { damaged, .. }) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(damaged.last, beyond);
    assert!(refused.to_string().contains(&*path.to_string_lossy()), "{refused}");
    fs::remove_file(path).expect("removed");
    assert_eq!(restart(&place).await.expect("it starts"), [10, 55]);
    damage_head(&place.snapshots().path_of(last));
    assert_eq!(restart(&place).await.expect("the log reaches it"), [10, 55]);
}

#[tokio::test]
async fn a_snapshot_that_contradicts_a_committed_entry_is_refused() {
    let (place, last) = stopped().await;
    place.snapshots().clear().expect("removed");
    let other = EntryId::new(Term::new(last.term.get() + 1), LogIndex::new(3));
    add_snapshot(&place, own_cluster(), node_id(2), other);
    let refused = restart(&place).await.expect_err("two histories");
    assert!(refused.to_string().contains("contradict each other"), "{refused}");
}

/// A volatile log that was lost as a whole may be of an earlier cluster with the same members.
#[tokio::test]
async fn snapshots_of_an_earlier_volatile_log_are_removed() {
    let (place, _) = stopped().await;
    let mut store = MemoryLog::new();
    let members = membership_of(1);
    bootstrap(&mut store, "snapshots", node_id(1), &members).await.expect("blank");
    let transport = InProcessNetwork::new().transport();
    let machine = Box::new(Sum::new(true, &behaviour()));
    let config = place.config(Limits::default());
    let node = Node::start(config, Box::new(store), transport, machine).await.expect("it starts");
    node.wait_for_leader().await.expect("it leads");
    assert_eq!(state(&node).await, [0, 0]);
    assert_eq!(place.snapshots().list().expect("listed"), []);
}
