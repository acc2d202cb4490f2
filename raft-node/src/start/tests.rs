//! Where a start begins, and what is left when a thread cannot be started.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use log_memory::MemoryLog;
use raft_core::storage::{StoreInfo, WriteBatch};
use raft_core::types::{Entry, EntryKind, Term};

use super::*;
use crate::application::{Committed, Fatal, Replies};
use crate::test_support::{ChangedLog, Changes, membership_of, node_id};

struct Idle;

impl StateMachine for Idle {
    fn apply(&mut self, _commands: &[Committed], _replies: &mut Replies) -> Result<(), Fatal> {
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::new()
    }
}

/// A memory log that needs a thread, and records when it is closed.
#[derive(Clone)]
struct Threaded(Arc<AtomicBool>);

#[async_trait]
impl Changes for Threaded {
    fn declare(&self, info: StoreInfo) -> StoreInfo {
        StoreInfo { may_block: true, ..info }
    }

    async fn before_close(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_start_begins_with_what_is_known_to_be_committed_and_refuses_a_machine_beyond_it() {
    let id = |index, term| EntryId::new(Term::new(term), LogIndex::new(index));
    let entry = |index| Entry::new(id(index, 1), EntryKind::Command, Bytes::new());
    let mut log = MemoryLog::new();
    let commit_hint = Some(LogIndex::new(12));
    let batch = WriteBatch::of_entries((1..=20).map(entry).collect());
    log.write(WriteBatch { commit_hint, ..batch }).await.expect("in memory");
    let recovered = log.recover().await.expect("in memory");
    for (applied, commit) in [(None, 12), (Some(id(9, 1)), 12), (Some(id(15, 1)), 15)] {
        let start = start_from(recovered.clone(), applied, None).expect("sound");
        assert_eq!(start.commit, LogIndex::new(commit), "{applied:?}");
        assert_eq!(start.applied, applied.map_or(LogIndex::ZERO, |id| id.index));
    }
    for applied in [id(21, 1), id(15, 2)] {
        let refused = start_from(recovered.clone(), Some(applied), None).err();
        assert!(matches!(refused, Some(StartError::MachineAhead { .. })), "{refused:?}");
    }
}

/// What went wrong: the writer's thread waited for work for ever, and kept the store open.
#[tokio::test]
async fn a_thread_that_cannot_be_started_leaves_none_behind() {
    let is_closed = Arc::<AtomicBool>::default();
    let changes = Threaded(Arc::clone(&is_closed));
    let mut store = ChangedLog { log: MemoryLog::new(), changes };
    let membership = membership_of(1);
    let identity = crate::bootstrap(&mut store, "no thread", node_id(1), &membership).await;
    let (config, identity) = (NodeConfig::default(), identity.expect("blank"));
    let recovered = store.recover().await.expect("recovered");
    let started = start_from(recovered, None, None).expect("sound");
    let pump = new_pump(&config, identity, started, Default::default()).expect("sound");
    let admission = Admission::load(identity, None).expect("nothing to read");
    let transport = crate::InProcessNetwork::new().transport();
    let (store, machine, snapshots) = (Box::new(store), Box::new(Idle), None);
    let parts = Parts { store, transport, machine, pump, admission, snapshots };
    let (member, workers) = wire(&config, identity, parts);
    let writer_ended = std::sync::Mutex::new(None);
    let only_the_first = |node, part: Part| {
        if part.0 == "read" {
            return Err(io::Error::other("injected by the test"));
        }
        let ended = spawn_thread(node, part)?;
        *writer_ended.lock().expect("no panic") = Some(ended);
        Ok(oneshot::channel().1)
    };
    launch(&member, workers, only_the_first).expect_err("the reader has no thread");
    let ended = writer_ended.lock().expect("no panic").take().expect("it was started");
    // The sender is dropped at the end, so the outcome is an error either way.
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), ended).await;
    assert!(ended.is_ok(), "the writer's thread has ended");
    assert!(is_closed.load(Ordering::SeqCst), "and has closed the store");
}
