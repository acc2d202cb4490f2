//! What a restart from a snapshot leaves in the log, and when a state machine keeps its own state.

use std::fs;
use std::io::{Read, Write};

use bytes::Bytes;
use log_memory::MemoryLog;
use raft_core::storage::{LogStore, StableStore};
use raft_core::types::{ClusterId, Entry, EntryKind, NodeId, StoreId};
use tempfile::TempDir;

use super::*;
use crate::application::{Committed, Replies};
use crate::snapshots::SnapshotHead;
use crate::test_support::{membership_of, node_id};

/// What happens when a state machine is restored.
enum Restores {
    Well,
    Panics,
    Refuses,
    /// This file is damaged while it is read, and the state machine ignores the error.
    Damaged(PathBuf),
}

/// A state machine that keeps its state itself.
struct Own {
    applied: Option<EntryId>,
    restores: Restores,
    is_restored: bool,
}

impl StateMachine for Own {
    fn apply(&mut self, _commands: &[Committed], _replies: &mut Replies) -> Result<(), Fatal> {
        Ok(())
    }

    fn restore(&mut self, last: EntryId, reader: &mut dyn Read) -> Result<(), Fatal> {
        match &self.restores {
            Restores::Well => {}
            Restores::Panics => panic!("a test panic"),
            Restores::Refuses => return Err(Fatal::new("another version of the application")),
            Restores::Damaged(path) => damage(path),
        }
        let _ = reader.read_to_end(&mut Vec::new());
        (self.applied, self.is_restored) = (Some(last), true);
        Ok(())
    }

    fn applied(&self) -> Option<EntryId> {
        self.applied
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        vec![u8::from(self.is_restored)].into()
    }
}

fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

fn identity(node: u64) -> Identity {
    Identity { cluster: ClusterId(1), node: node_id(node), store: StoreId(1) }
}

/// More than a reader has in memory at once.
const STATE_BYTES: usize = 100_000;

/// Node 1, with the entries 1 to 20 of term 1.
struct Place {
    log: MemoryLog,
    dir: TempDir,
}

impl Place {
    async fn new() -> Place {
        let mut log = MemoryLog::new();
        let entry = |index| Entry::new(id(index, 1), EntryKind::Command, Bytes::new());
        log.append(&(1..=20).map(entry).collect::<Vec<_>>()).await.expect("in memory");
        Place { log, dir: tempfile::tempdir().expect("a directory") }
    }

    fn snapshots(&self) -> SnapshotDir {
        SnapshotDir::own(self.dir.path()).expect("its own")
    }

    /// Adds a snapshot that a node took.
    fn add_snapshot(&self, node: u64, last: EntryId) {
        let (writer, membership) = (identity(node), membership_of(2));
        let head = SnapshotHead {
            writer,
            last,
            membership,
            feature_level: 1,
            sessions: Default::default(),
            salt: 1,
        };
        let mut new = self.snapshots().create(head).expect("created");
        new.write_all(&[7; STATE_BYTES]).expect("written");
        new.keep().expect("kept");
    }

    /// Restores a state machine that has applied this much itself.
    async fn restore(&mut self, applied: Option<EntryId>) -> Result<Restored, RestoreError> {
        self.restore_as(applied, Restores::Well).await
    }

    async fn restore_as(
        &mut self,
        applied: Option<EntryId>,
        restores: Restores,
    ) -> Result<Restored, RestoreError> {
        let recovered = self.log.recover().await.expect("in memory");
        let machine = Box::new(Own { applied, restores, is_restored: false });
        restore(&self.snapshots(), identity(1), &mut self.log, recovered, machine).await
    }
}

/// Flips a byte near the end of the state.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    let middle = bytes.len() - 42;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

fn is_restored(restored: &Restored) -> bool {
    restored.machine.read(&[])[..] == [1]
}

fn hard_state(term: u64, vote: u64) -> HardState {
    HardState { term: Term::new(term), vote: NodeId::new(vote) }
}

/// A vote that is forgotten in its own term could be given again.
#[tokio::test]
async fn a_repeated_reset_raises_the_term_and_forgets_no_vote_of_its_own_term() {
    for (before, after) in [
        (hard_state(3, 1), hard_state(5, 0)),
        (hard_state(5, 1), hard_state(5, 1)),
        (hard_state(9, 2), hard_state(9, 2)),
    ] {
        let mut place = Place::new().await;
        place.log.save_hard_state(before).await.expect("in memory");
        place.add_snapshot(2, id(100, 5));
        let restored = place.restore(None).await.expect("an install was interrupted");
        assert_eq!(restored.recovered.hard_state, after, "after {before:?}");
        assert_eq!(restored.recovered.bounds.boundary, id(100, 5));
        assert_eq!(restored.applied, Some(id(100, 5)));
        assert_eq!(restored.base, Some(membership_of(2)), "the snapshot's");
        let stored = place.log.recover().await.expect("in memory");
        assert_eq!(stored.hard_state, after, "it is in the store");
        assert_eq!(stored.bounds, restored.recovered.bounds);
    }
}

/// Entries that were not known to be committed may have been replaced by others.
#[tokio::test]
async fn only_a_committed_entry_contradicts_a_snapshot_of_another_member() {
    for (index, is_refused) in [(9, true), (10, true), (11, false)] {
        let mut place = Place::new().await;
        let batch = WriteBatch::of_hard_state(hard_state(2, 1));
        let commit_hint = Some(LogIndex::new(10));
        place.log.write(WriteBatch { commit_hint, ..batch }).await.expect("in memory");
        place.add_snapshot(2, id(index, 2));
        match place.restore(None).await {
            Ok(restored) => assert_eq!(restored.recovered.bounds.last, id(index, 2)),
            Err(refused) => {
                assert!(matches!(refused, RestoreError::Contradiction { .. }), "{refused}");
                assert!(is_refused, "index {index}");
                continue;
            }
        }
        assert!(!is_refused, "index {index}");
    }
}

#[tokio::test]
async fn a_state_machine_that_has_as_much_as_the_snapshot_keeps_its_own_state() {
    for (applied, wants_restore) in [(None, true), (Some(9), true), (Some(10), false)] {
        let mut place = Place::new().await;
        place.add_snapshot(1, id(10, 1));
        let applied = applied.map(|index| id(index, 1));
        let restored = place.restore(applied).await.expect("the log is whole");
        assert_eq!(is_restored(&restored), wants_restore, "{applied:?}");
        assert_eq!(restored.applied, Some(id(10, 1)));
    }
    let mut place = Place::new().await;
    place.add_snapshot(1, id(10, 1));
    let restored = place.restore(Some(id(15, 1))).await.expect("the log is whole");
    assert_eq!((is_restored(&restored), restored.applied), (false, Some(id(15, 1))));
    assert_eq!(restored.newest.map(|newest| newest.last), Some(id(10, 1)));
}

/// The state machine has applied more than the snapshot includes, and than the log holds.
#[tokio::test]
async fn a_log_is_not_reset_behind_a_state_machine_that_has_more() {
    let mut place = Place::new().await;
    place.add_snapshot(2, id(100, 5));
    let restored = place.restore(Some(id(150, 5))).await.expect("the start decides");
    assert_eq!(restored.recovered.bounds.last, id(20, 1));
    assert!(!is_restored(&restored));
}

/// What lies between the snapshot and the log is missing, and the start refuses that.
#[tokio::test]
async fn a_log_that_begins_after_a_snapshot_is_not_reset_to_it() {
    let mut place = Place::new().await;
    place.add_snapshot(2, id(10, 1));
    place.log.purge_upto(id(15, 1)).await.expect("in memory");
    let restored = place.restore(None).await.expect("the start decides");
    assert_eq!((restored.applied, restored.base), (Some(id(10, 1)), None));
    assert_eq!(restored.recovered.bounds.boundary, id(15, 1));
    assert_eq!(place.log.recover().await.expect("in memory").bounds.last, id(20, 1));
}

/// A state machine that keeps its state has nothing of the engine's own state, which says which
/// requests of sessions have run.
#[tokio::test]
async fn a_damaged_snapshot_loses_what_no_state_machine_has() {
    let mut place = Place::new().await;
    place.add_snapshot(1, id(10, 1));
    damage(&place.snapshots().path_of(id(10, 1)));
    let restored = place.restore(Some(id(10, 1))).await.expect("the log is whole");
    assert_eq!((restored.applied, restored.base), (Some(id(10, 1)), None));
    place.log.purge_upto(id(10, 1)).await.expect("in memory");
    for applied in [id(9, 1), id(10, 1), id(15, 1)] {
        let refused = place.restore(Some(applied)).await.err().expect("a part is lost");
        assert!(matches!(refused, RestoreError::Lost { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_state_machine_that_cannot_be_restored_is_named_with_its_reason() {
    for (restores, why) in [
        (Restores::Panics, "it panicked: a test panic"),
        (Restores::Refuses, "another version of the application"),
    ] {
        let mut place = Place::new().await;
        place.add_snapshot(1, id(10, 1));
        let refused = place.restore_as(None, restores).await.err().expect("not restored");
        assert!(matches!(refused, RestoreError::StateMachine { .. }), "{refused}");
        assert!(refused.to_string().ends_with(why), "{refused}");
    }
}

/// The file was sound when it was checked, and the state machine ignores that reading it fails.
#[tokio::test]
async fn damage_during_the_restore_is_not_ignored() {
    let mut place = Place::new().await;
    place.add_snapshot(1, id(10, 1));
    let path = place.snapshots().path_of(id(10, 1));
    let restored = place.restore_as(None, Restores::Damaged(path)).await;
    let refused = restored.err().expect("the state is not whole");
    assert!(matches!(refused, RestoreError::Unusable(_)), "{refused}");
}

/// The membership of a snapshot is not the one at a boundary that lies after it.
#[tokio::test]
async fn a_snapshot_before_the_boundary_does_not_name_the_members() {
    for (boundary, base) in [(9, true), (10, true), (11, false)] {
        let mut place = Place::new().await;
        place.add_snapshot(1, id(10, 1));
        place.log.purge_upto(id(boundary, 1)).await.expect("in memory");
        let restored = place.restore(Some(id(15, 1))).await.expect("it has everything");
        assert_eq!(restored.base.is_some(), base, "the log begins after {boundary}");
    }
}
