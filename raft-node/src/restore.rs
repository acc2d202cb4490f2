//! Restores a state machine from the newest snapshot when its member starts, and makes the log
//! begin right after that snapshot if it does not reach it.
//!
//! ```text
//!   newest sound snapshot --> checks against the log --> state machine --> reset of the log, if
//!                                                                          the log is behind
//! ```
//!
//! A log that does not reach a snapshot has one of two causes. If another member took the snapshot,
//! a crash interrupted an install after the snapshot was durable and before the log was reset; the
//! reset is repeated. If this member took the snapshot, the log has lost entries, since a member
//! takes snapshots only of what its log holds; such a member must not vote, and does not start.
//!
//! A damaged snapshot is not restored, but it was whole and durable once, and its name says what it
//! included. So it shows that the log has lost entries just as a sound one does. If its head is
//! damaged, too, the member that took it is unknown, and the member does not start.
//!
//! Deliberately absent: applying the entries after the snapshot, which the running member does.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use raft_core::storage::{LogError, Recovered, Store, WriteBatch};
use raft_core::types::{ClusterId, EntryId, HardState, Identity, LogIndex, Membership, Term};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tracing::{error, info};

use crate::application::{Fatal, StateMachine};
use crate::engine_state::EngineState;
use crate::panics::caught;
use crate::pump::TakenSnapshot;
use crate::snapshots::{DamagedSnapshot, SnapshotDir, StoredSnapshot, UnusableSnapshot};

/// Why a member cannot start from its snapshots. Nothing was changed, except by
/// [`Store`](RestoreError::Store): then the log may have been reset.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The directory of the snapshots cannot be used.
    #[error("the snapshots in {} cannot be used: {source}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A snapshot cannot be read, or was written by a newer version.
    #[error(transparent)]
    Unusable(#[from] UnusableSnapshot),
    /// The entries that a damaged snapshot includes were purged from the log, so a part of the
    /// state is lost here, at least of the engine's own. Other members have it.
    #[error(
        "{damaged}, the log begins after {boundary}, and no sound snapshot reaches it: a part of \
         the state is lost here, and only other members have it"
    )]
    Lost {
        /// The newest damaged snapshot.
        damaged: UnusableSnapshot,
        /// The log's boundary.
        boundary: EntryId,
    },
    /// The log may have lost entries: a snapshot with a damaged head includes an entry that the log
    /// does not hold. Its name says which entry that is, but not which member took it.
    #[error(
        "the log may have lost entries: it ends at {last}, and {damaged}, so it is unknown which \
         node took it. If this node did, replace this member. Remove the file only if it was \
         received from another node",
        damaged = .damaged.unusable
    )]
    MaybeLogLost {
        /// The log's last entry.
        last: EntryId,
        /// The snapshot.
        damaged: DamagedSnapshot,
    },
    /// The snapshot is of another cluster.
    #[error("the snapshot {} is of cluster {theirs}, not of {ours}", .path.display())]
    OtherCluster {
        /// The snapshot.
        path: PathBuf,
        /// The cluster of the snapshot.
        theirs: ClusterId,
        /// The cluster of the store.
        ours: ClusterId,
    },
    /// The log has lost entries: a snapshot that this member itself took includes an entry that the
    /// log does not hold.
    #[error(
        "the log has lost entries: it ends at {last}, and the snapshot {}, which this node took \
         from its log, includes {includes}",
        .path.display()
    )]
    LogLost {
        /// The log's last entry.
        last: EntryId,
        /// The snapshot.
        path: PathBuf,
        /// The last entry that the snapshot includes.
        includes: EntryId,
    },
    /// The log and the snapshot hold different committed entries at one index.
    #[error(
        "the log and the snapshot {} contradict each other: the snapshot includes {includes}, and \
         the log knows another entry to be committed there",
        .path.display()
    )]
    Contradiction {
        /// The snapshot.
        path: PathBuf,
        /// The last entry that the snapshot includes.
        includes: EntryId,
    },
    /// The state machine cannot restore its state from the snapshot.
    #[error("the state machine cannot be restored from the snapshot {}: {why}", .path.display())]
    StateMachine {
        /// The snapshot.
        path: PathBuf,
        /// The state machine's reason.
        why: Fatal,
    },
    /// The log could not be reset to begin after the snapshot.
    #[error("the log could not be made to begin after its snapshot")]
    Store(#[from] LogError),
}

/// A state machine, and the log that continues it.
pub(crate) struct Restored {
    pub(crate) machine: Box<dyn StateMachine>,
    pub(crate) recovered: Recovered,
    /// The last entry that the state machine has applied.
    pub(crate) applied: Option<EntryId>,
    /// The last entry that the snapshot includes, and the engine's state there; the log's beginning
    /// if there is no snapshot. Invariant: at most `applied`.
    pub(crate) engine: (EntryId, EngineState),
    /// The membership at the end of the snapshot, if the log begins there or before it. It stands
    /// for the one at the log's boundary: nothing below the end of the snapshot is looked up again.
    pub(crate) base: Option<Membership>,
    pub(crate) newest: Option<TakenSnapshot>,
}

impl Restored {
    /// For a member without a snapshot: the state machine is as it is.
    pub(crate) fn without_snapshots(
        machine: Box<dyn StateMachine>,
        recovered: Recovered,
    ) -> Restored {
        let applied = machine.applied();
        let engine = (EntryId::ZERO, EngineState::default());
        Restored { machine, recovered, applied, engine, base: None, newest: None }
    }
}

/// Restores the state machine from the newest snapshot, unless the state machine has more itself.
///
/// # Errors
/// The member must not start; [`RestoreError`] says whether anything was changed.
pub(crate) async fn restore(
    dir: &SnapshotDir,
    identity: Identity,
    store: &mut dyn Store,
    recovered: Recovered,
    machine: Box<dyn StateMachine>,
) -> Result<Restored, RestoreError> {
    let own_applied = machine.applied();
    let (newest, damaged) = blocking(dir, SnapshotDir::newest).await?;
    damaged.iter().for_each(|damaged| error!("{damaged}"));
    let has = own_applied.map_or(LogIndex::ZERO, |id| id.index);
    let found = Found { identity, recovered: &recovered, has };
    let Some(snapshot) = found.usable(newest, damaged)? else {
        return Ok(Restored::without_snapshots(machine, recovered));
    };
    let last = snapshot.head.last;
    let is_behind = found.is_behind(last);
    let newest = Some(taken(&snapshot));
    let (machine, applied) = if has < last.index {
        (restore_machine(dir, machine, &snapshot).await?, Some(last))
    } else {
        (machine, own_applied)
    };
    let recovered =
        if is_behind { reset(store, recovered.hard_state, last).await? } else { recovered };
    let is_base = (1..=last.index.get()).contains(&recovered.bounds.boundary.index.get());
    let engine = (last, snapshot.engine());
    let base = is_base.then_some(snapshot.head.membership);
    Ok(Restored { machine, recovered, applied, engine, base, newest })
}

/// What the snapshots of a member are compared with.
struct Found<'a> {
    identity: Identity,
    recovered: &'a Recovered,
    /// The last entry that the state machine has applied before anything is restored.
    has: LogIndex,
}

impl Found<'_> {
    /// The snapshot to start from, if there is one that is sound.
    fn usable(
        &self,
        newest: Option<StoredSnapshot>,
        damaged: Vec<DamagedSnapshot>,
    ) -> Result<Option<StoredSnapshot>, RestoreError> {
        if let Some(StoredSnapshot { head, path, .. }) = &newest {
            self.check(path, head.last, head.writer)?;
        }
        let Some(damaged) = self.newest_damaged(damaged)? else { return Ok(newest) };
        let boundary = self.recovered.bounds.boundary;
        let sound = newest.as_ref().map_or(LogIndex::ZERO, |snapshot| snapshot.head.last.index);
        // Even a state machine that keeps its state lacks the engine's own.
        if sound < boundary.index {
            return Err(RestoreError::Lost { damaged: damaged.unusable, boundary });
        }
        Ok(newest)
    }

    /// The newest damaged snapshot. An error if one of them shows that the log has lost entries, or
    /// may show it.
    fn newest_damaged(
        &self,
        damaged: Vec<DamagedSnapshot>,
    ) -> Result<Option<DamagedSnapshot>, RestoreError> {
        let mut newest = None;
        for one in damaged {
            match one.writer {
                Some(writer) => self.check(&one.unusable.path, one.last, writer)?,
                None if self.is_behind(one.last) => {
                    let last = self.recovered.bounds.last;
                    return Err(RestoreError::MaybeLogLost { last, damaged: one });
                }
                None => {}
            }
            newest.get_or_insert(one);
        }
        Ok(newest)
    }

    /// Whether the log ends before this entry, and the state machine as well.
    fn is_behind(&self, last: EntryId) -> bool {
        !reaches(self.recovered, last) && self.has <= last.index
    }

    /// Checks that a snapshot, sound or damaged, does not contradict the log.
    fn check(&self, path: &Path, includes: EntryId, writer: Identity) -> Result<(), RestoreError> {
        let (theirs, ours) = (writer.cluster, self.identity.cluster);
        if theirs != ours {
            return Err(RestoreError::OtherCluster { path: path.to_owned(), theirs, ours });
        }
        if !self.is_behind(includes) {
            return Ok(());
        }
        let path = path.to_owned();
        if writer.node == self.identity.node {
            let last = self.recovered.bounds.last;
            return Err(RestoreError::LogLost { last, path, includes });
        }
        if self.recovered.commit_hint >= includes.index {
            return Err(RestoreError::Contradiction { path, includes });
        }
        Ok(())
    }
}

/// The snapshot as the pump knows it.
pub(crate) fn taken(snapshot: &StoredSnapshot) -> TakenSnapshot {
    let head = &snapshot.head;
    TakenSnapshot { last: head.last, salt: head.salt, bytes: snapshot.file_bytes }
}

/// Whether the log holds this entry, or has purged it.
fn reaches(recovered: &Recovered, id: EntryId) -> bool {
    id.index < recovered.bounds.boundary.index || term_at(recovered, id.index) == Some(id.term)
}

/// The term at an index of the log, the boundary's included.
pub(crate) fn term_at(recovered: &Recovered, index: LogIndex) -> Option<Term> {
    let bounds = recovered.bounds;
    if index == bounds.boundary.index {
        return Some(bounds.boundary.term);
    }
    if index > bounds.last.index {
        return None;
    }
    let run = recovered.term_runs.iter().rev().find(|run| run.first <= index);
    run.map(|run| run.term)
}

async fn restore_machine(
    dir: &SnapshotDir,
    mut machine: Box<dyn StateMachine>,
    snapshot: &StoredSnapshot,
) -> Result<Box<dyn StateMachine>, RestoreError> {
    let last = snapshot.head.last;
    let restored = blocking(dir, move |dir| {
        restore_from(dir, last, machine.as_mut(), &AtomicBool::new(false))?;
        Ok::<_, RestoreError>(machine)
    });
    let machine = restored.await?;
    info!(%last, bytes = snapshot.file_bytes, "the state was restored from a snapshot");
    Ok(machine)
}

/// Restores the state machine from the snapshot that ends at this entry. Fails soon after `is_over`
/// is set.
///
/// # Errors
/// The file is not sound, or the state machine has failed; its state is not usable.
pub(crate) fn restore_from(
    dir: &SnapshotDir,
    last: EntryId,
    machine: &mut dyn StateMachine,
    is_over: &AtomicBool,
) -> Result<(), RestoreError> {
    let path = dir.path_of(last);
    let mut reader = dir.open(last)?;
    let mut input = UntilOver { input: &mut reader, is_over };
    let restored = match caught(|| machine.restore(last, &mut input)) {
        Ok(restored) => restored,
        Err(message) => Err(Fatal::new(format!("it panicked: {message}"))),
    };
    if is_over.load(Ordering::Relaxed) {
        return Err(RestoreError::StateMachine { path, why: Fatal::new("the member ends") });
    }
    // The damage of the file is the reason for whatever the state machine made of it.
    if let Err(why) = reader.finish() {
        return Err(RestoreError::Unusable(UnusableSnapshot { path, why }));
    }
    restored.map_err(|why| RestoreError::StateMachine { path, why })
}

/// An input that fails once the member ends.
struct UntilOver<'a, R> {
    input: R,
    is_over: &'a AtomicBool,
}

impl<R: io::Read> io::Read for UntilOver<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(io::Error::other("the member ends"));
        }
        self.input.read(bytes)
    }
}

/// Repeats the reset of an install that a crash cut short.
async fn reset(
    store: &mut dyn Store,
    hard_state: HardState,
    last: EntryId,
) -> Result<Recovered, RestoreError> {
    info!(%last, "the log begins after an installed snapshot");
    let raised = HardState { term: last.term, vote: None };
    let hard_state = (hard_state.term < last.term).then_some(raised);
    store.write(WriteBatch { hard_state, ..WriteBatch::of_reset(last) }).await?;
    Ok(store.recover().await?)
}

/// Works with the files on a thread where this may block.
async fn blocking<T: Send + 'static, E: Send + 'static>(
    dir: &SnapshotDir,
    act: impl FnOnce(&SnapshotDir) -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let dir = dir.clone();
    match spawn_blocking(move || act(&dir)).await {
        Ok(result) => result,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

#[cfg(test)]
mod tests;
