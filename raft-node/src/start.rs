//! Starting a member: builds a pump from the recovered state of the store, and connects the parts
//! of the member.
//!
//! | part | runs on |
//! |---|---|
//! | the driver | the caller's runtime |
//! | the store's writer, the store's reader | a thread each, if they may block; else inline |
//! | the writer of snapshots | a thread, if there is a directory for them |
//! | the state machine | a task on the caller's runtime, unless it is cheap; else inline |

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use raft_core::consensus::{Config, Start};
use raft_core::storage::{Durability, LogError, Recovered, Store};
use raft_core::types::{EntryId, Identity, LogIndex, Membership, NodeId, StoreId};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::{Instrument, debug, error, info_span};

use crate::application::StateMachine;
use crate::bootstrap::random_number;
use crate::clock;
use crate::config::NodeConfig;
use crate::engine_state::EngineState;
use crate::member::admission::Admission;
use crate::member::clients::Waiters;
use crate::member::executor::{Executor, Machine};
use crate::member::mailbox::Mailbox;
use crate::member::persist::Persist;
use crate::member::publisher::Publisher;
use crate::member::read::Read;
use crate::member::snapshot::{SnapshotWorkers, snapshots_in};
use crate::member::status::NodeStatus;
use crate::member::turn::Turn;
use crate::member::work_queue::{WorkReceiver, work_queue};
use crate::member::worker::{ThreadedWorker, WorkerHandle};
use crate::member::{Member, MemberInbound, apply, scheduler};
use crate::panics::caught_future;
use crate::pump::{LimitsError, Pump};
use crate::requests::quota::{Quota, Quotas};
use crate::restore::{RestoreError, Restored, restore, term_at};
use crate::snapshots::SnapshotDir;
use crate::transport::Transport;

/// Why a member did not start. Nothing was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store is blank. Bootstrap it first; or prepare it to join a cluster
    /// ([`join`](crate::join)) and start it with [`Node::join`](crate::Node::join).
    #[error("the store is blank: bootstrap it first, or let it join a cluster")]
    NotBootstrapped,
    /// The timing cannot work.
    #[error("the timing cannot work: {0}")]
    Timing(#[from] raft_core::consensus::ConfigError),
    /// The limits cannot work.
    #[error("the limits cannot work: {0}")]
    Limits(#[from] LimitsError),
    /// The state machine has applied an entry that the log does not hold.
    #[error(
        "the state machine has applied {applied}, but the log ends at {last} (boundary {boundary})"
    )]
    MachineAhead {
        /// The last entry that the state machine reports as applied.
        applied: EntryId,
        /// The log's last entry.
        last: EntryId,
        /// The log's boundary.
        boundary: EntryId,
    },
    /// The log begins after entries that no snapshot includes. A state machine that keeps its state
    /// may have applied them, but the engine's own state, that of sessions, is missing.
    #[error("the log begins after {boundary}, and no snapshot has what was before")]
    MissingPrefix {
        /// The log's boundary.
        boundary: EntryId,
    },
    /// The store failed.
    #[error("the store cannot be read")]
    Store(#[from] LogError),
    /// The state cannot be restored from the member's snapshots.
    #[error(transparent)]
    Snapshots(#[from] RestoreError),
    /// The record of the peers' stores cannot be read.
    #[error("the record of the peers' stores cannot be read")]
    Peers(#[source] io::Error),
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] io::Error),
}

/// Resolves when a task or thread of the member has ended.
pub(crate) type HasEnded = oneshot::Receiver<()>;

/// A task or thread of a member: its name, and what it does.
type Part = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);

/// Starts a member on the runtime of the caller. Also returns, for each of its tasks and threads, a
/// receiver that resolves when it has ended.
///
/// A blank log is accepted only from a member that joins: a member that has lost its log must not
/// start as if it had never had one.
pub(crate) async fn start(
    config: NodeConfig,
    mut store: Box<dyn Store>,
    transport: Box<dyn Transport>,
    machine: Box<dyn StateMachine>,
    joins: bool,
) -> Result<(Arc<Member>, Vec<HasEnded>), StartError> {
    let mut identity = store.load_identity().await?.ok_or(StartError::NotBootstrapped)?;
    if store.info().durability == Durability::Volatile {
        // A volatile store keeps nothing beyond its process, so each start counts as another store.
        identity.store = StoreId(random_number());
    }
    let snapshots = own_snapshots(&config, store.info().durability)?;
    let recovered = store.recover().await?;
    let restored = match &snapshots {
        Some(dir) => restore(dir, identity, store.as_mut(), recovered, machine).await?,
        None => Restored::without_snapshots(machine, recovered),
    };
    if restored.recovered.bounds.last.index == LogIndex::ZERO && !joins {
        return Err(StartError::NotBootstrapped);
    }
    let (seen, engine) = restored.engine;
    let start = start_from(restored.recovered, restored.applied, restored.base)?;
    let (machine, newest) = (restored.machine, restored.newest);
    let mut pump = new_pump(&config, identity, start, (seen.index, engine))?;
    if snapshots.is_some() {
        pump.enable_snapshots(newest);
    }
    let admission = Admission::load(identity, config.peers.clone()).map_err(StartError::Peers)?;
    debug!(%identity, backend = %store.info().backend, last = %pump.status().last, "starting");
    let parts = Parts { store, transport, machine, pump, admission, snapshots };
    let (member, workers) = wire(&config, identity, parts);
    let has_ended = launch(&member, workers, spawn_thread).map_err(StartError::Thread)?;
    Ok((member, has_ended))
}

/// The directory of the snapshots. Those of an earlier process with a volatile store are removed,
/// since what that process knew is lost.
fn own_snapshots(
    config: &NodeConfig,
    durability: Durability,
) -> Result<Option<SnapshotDir>, RestoreError> {
    let Some(path) = &config.snapshots else { return Ok(None) };
    let failed = |source| RestoreError::Directory { path: path.clone(), source };
    let dir = SnapshotDir::own(path).map_err(failed)?;
    if durability == Durability::Volatile {
        dir.clear().map_err(failed)?;
    }
    Ok(Some(dir))
}

/// What a member is built from.
struct Parts {
    store: Box<dyn Store>,
    transport: Box<dyn Transport>,
    machine: Box<dyn StateMachine>,
    pump: Pump<Waiters>,
    admission: Admission,
    snapshots: Option<SnapshotDir>,
}

/// The workers of a member that do not run yet.
struct Workers {
    writer: Option<ThreadedWorker<Persist>>,
    reader: Option<ThreadedWorker<Read>>,
    snapshots: Option<SnapshotWorkers>,
    /// A state machine for a task, and the queue of its work.
    apply: Option<(Box<dyn StateMachine>, WorkReceiver<apply::ApplyWork>)>,
}

/// Builds a member from its parts; nothing runs yet.
fn wire(config: &NodeConfig, identity: Identity, parts: Parts) -> (Arc<Member>, Workers) {
    let Parts { store, transport, machine, pump, admission, snapshots } = parts;
    let (info, reader) = (store.info(), store.reader());
    let may_read_block = reader.may_block();
    let (persist, end_waiting) = Persist::new(store);
    let (writer, threaded_writer) = WorkerHandle::new(persist, info.may_block);
    let (reader, threaded_reader) = WorkerHandle::new(Read::new(reader), may_read_block);
    let (snapshots, snapshot_workers) = snapshots.map(|dir| snapshots_in(dir, identity)).unzip();
    let (machine, apply) = if machine.is_cheap() {
        (Machine::Cheap(machine), None)
    } else {
        let (sender, queue) = work_queue();
        (Machine::Tasked(sender), Some((machine, queue)))
    };
    let limits = config.limits.clone();
    let mailbox = Arc::<Mailbox>::default();
    let quotas = Arc::new(Quotas {
        proposals: Quota::new(limits.proposals, limits.proposal_bytes),
        reads: Quota::new(limits.reads, limits.read_bytes),
    });
    let publisher = Publisher::new(NodeStatus::of(identity, &pump, &info));
    let own_task = Waker::from(Arc::clone(&mailbox));
    let writer = (writer, end_waiting);
    let connected: Vec<_> = pump.connected_memberships().cloned().collect();
    admission.note_memberships(&connected);
    admission.note_level(pump.feature_level());
    let admission = Arc::new(admission);
    let peers = (transport, Arc::clone(&admission));
    let executor = Executor::new(peers, machine, writer, reader, snapshots, own_task);
    let turn = Turn::new(identity, pump, executor, info);
    let member = Member::new(identity, limits, mailbox, quotas, publisher, admission, turn);
    let (writer, reader, snapshots) = (threaded_writer, threaded_reader, snapshot_workers);
    let workers = Workers { writer, reader, snapshots, apply };
    (Arc::new(member), workers)
}

/// Starts the workers, the transport and the driver. If a thread cannot be started, the member is
/// ended, which also ends the workers that already run.
fn launch(
    member: &Arc<Member>,
    workers: Workers,
    spawn_thread: impl Fn(NodeId, Part) -> io::Result<HasEnded>,
) -> io::Result<Vec<HasEnded>> {
    let (node, mut has_ended) = (member.identity.node, Vec::new());
    let mut threads: Vec<Part> = Vec::new();
    if let Some(writer) = workers.writer {
        threads.push(("persist", Box::pin(writer.run(Arc::clone(member)))));
    }
    if let Some(reader) = workers.reader {
        threads.push(("read", Box::pin(reader.run(Arc::clone(member)))));
    }
    if let Some(snapshots) = workers.snapshots {
        let SnapshotWorkers { writer, files } = snapshots;
        threads.push(("snapshot", Box::pin(writer.run(Arc::clone(member)))));
        threads.push(("files", Box::pin(files.run(Arc::clone(member)))));
    }
    for thread in threads {
        match spawn_thread(node, thread) {
            Ok(ended) => has_ended.push(ended),
            Err(error) => {
                member.abort(format!("a thread could not be started: {error}"));
                return Err(error);
            }
        }
    }
    if let Some((machine, queue)) = workers.apply {
        let quotas = Arc::clone(&member.quotas);
        let apply = apply::run(machine, queue, quotas, Arc::clone(member));
        has_ended.push(spawn_task(node, ("apply", Box::pin(apply))));
    }
    let inbound = Arc::new(MemberInbound(Arc::clone(member)));
    member.with_transport(|transport| transport.start(inbound));
    let driver = run_driver(Arc::clone(member));
    has_ended.push(spawn_task(node, ("drive", Box::pin(driver))));
    Ok(has_ended)
}

/// Runs the driver; if it panics, the member ends.
async fn run_driver(member: Arc<Member>) {
    if let Err(message) = caught_future(scheduler::run_driver(Arc::clone(&member))).await {
        member.abort(format!("the driver of the member panicked: {message}"));
    }
}

fn spawn_task(node: NodeId, part: Part) -> HasEnded {
    let (work, has_ended) = named(node, part);
    tokio::spawn(work);
    has_ended
}

/// Runs a part of the member on a thread of its own, where it may block.
fn spawn_thread(node: NodeId, part: Part) -> io::Result<HasEnded> {
    let thread = std::thread::Builder::new().name(format!("{}-{node}", part.0));
    let (runtime, (work, has_ended)) = (Handle::current(), named(node, part));
    thread.spawn(move || runtime.block_on(work))?;
    Ok(has_ended)
}

/// Runs a part, and reports when it has ended, however it ends: the sender is dropped with it.
fn named(
    node: NodeId,
    (name, work): Part,
) -> (impl Future<Output = ()> + Send + 'static, HasEnded) {
    let (ended, has_ended) = oneshot::channel();
    let work = async move {
        let _ended = ended;
        if let Err(message) = caught_future(work).await {
            error!("{name} panicked: {message}");
        }
    };
    (work.instrument(info_span!("kontiki", %node, task = name)), has_ended)
}

fn new_pump(
    config: &NodeConfig,
    identity: Identity,
    start: Start,
    (seen, engine): (LogIndex, EngineState),
) -> Result<Pump<Waiters>, StartError> {
    let timing = config.timing;
    let protocol = Config {
        heartbeat_ticks: timing.heartbeat_ticks,
        election_ticks_min: timing.election_ticks_min,
        election_ticks_max: timing.election_ticks_max,
        stall_ticks: timing.stall_ticks,
        lease_drift: timing.lease_drift,
        ..Config::new(identity.node, random_number())
    };
    protocol.check()?;
    config.limits.check()?;
    // A state machine that keeps its state may be ahead of the engine's own state, which is in
    // snapshots and in the log only.
    let (machine_has, boundary) = (start.applied, start.boundary);
    if seen < boundary.index {
        return Err(StartError::MissingPrefix { boundary });
    }
    let start = Start { applied: seen.min(machine_has), ..start };
    let mut pump = Pump::new(identity, protocol, config.limits.clone(), start, random_number());
    pump.resume(engine, machine_has);
    Ok(pump)
}

/// The state from which the core starts: the store's recovered state, the last entry that the state
/// machine has applied, and the membership in force at the log's boundary.
fn start_from(
    recovered: Recovered,
    applied: Option<EntryId>,
    base: Option<Membership>,
) -> Result<Start, StartError> {
    let (boundary, last) = (recovered.bounds.boundary, recovered.bounds.last);
    let applied = applied.unwrap_or(EntryId::ZERO);
    if applied.index < boundary.index {
        return Err(StartError::MissingPrefix { boundary });
    }
    let term_there = term_at(&recovered, applied.index);
    if applied.index > last.index || term_there != Some(applied.term) {
        return Err(StartError::MachineAhead { applied, last, boundary });
    }
    let hint = recovered.commit_hint.min(last.index);
    let memberships = recovered.memberships.into_iter();
    Ok(Start {
        hard_state: recovered.hard_state,
        boundary,
        last: last.index,
        commit: hint.max(applied.index).max(boundary.index),
        applied: applied.index,
        term_runs: recovered.term_runs,
        base: base.map(Arc::new),
        memberships: memberships.map(|(index, one)| (index, Arc::new(one))).collect(),
        now: clock::now(),
    })
}

#[cfg(test)]
mod tests;
