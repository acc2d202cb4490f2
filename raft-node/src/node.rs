//! The handle of a running member: propose, read, watch, close.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use raft_core::consensus::{Config, Start};
use raft_core::storage::{Durability, LogError, Recovered, Store};
use raft_core::types::{EntryId, Identity, LogIndex, NodeId, StoreId, Term};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, oneshot, watch};
use tracing::info;

use crate::bootstrap::random_number;
use crate::desk::Desk;
use crate::engine::Engine;
use crate::hand::Hand;
use crate::inbox::{Inbox, Next};
use crate::pump::{Event, Limits, Pump};
use crate::runner::{Machine, Runner};
use crate::shared::Shared;
use crate::status::{NodeEvent, NodeStatus};
use crate::tasks::persist::Persist;
use crate::tasks::read::Read;
use crate::tasks::{self, spawn_task, spawn_thread};
use crate::waiters::{ReadAnswer, Waiters};
use crate::{ProposeError, ReadError, Replies, StateMachine, Transport};

/// Settings of a member that are not its identity: limits and times.
#[derive(Clone, Debug, Default)]
pub struct NodeConfig {
    /// Changes to the protocol's defaults; see [`Config`].
    pub timing: Timing,
    /// Limits of queues, batches and waits.
    pub limits: Limits,
}

/// The times of the protocol, in ticks of 10 ms. All members should have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats. 6 (60 ms).
    pub heartbeat_ticks: u32,
    /// The shortest election timeout. 30 (300 ms).
    pub election_ticks_min: u32,
    /// The longest election timeout. 60 (600 ms).
    pub election_ticks_max: u32,
    /// After which a disk that completes nothing counts as stalled. 100 (1 s).
    pub stall_ticks: u32,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat_ticks: 6,
            election_ticks_min: 30,
            election_ticks_max: 60,
            stall_ticks: 100,
        }
    }
}

/// Why a member did not start. Nothing was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store is blank. Bootstrap it first.
    #[error("the store is blank: bootstrap it first")]
    NotBootstrapped,
    /// The times cannot work.
    #[error("the timing cannot work: {0}")]
    Timing(#[from] raft_core::consensus::ConfigError),
    /// The machine has applied an entry that the log does not hold.
    #[error("the machine has applied {applied}, but the log ends at {last} (boundary {boundary})")]
    MachineAhead {
        /// What the machine says.
        applied: EntryId,
        /// The log's last entry.
        last: EntryId,
        /// The log's boundary.
        boundary: EntryId,
    },
    /// The log begins behind entries that the machine has not applied.
    #[error(
        "the log begins after {boundary}, and neither snapshot nor machine has what was before"
    )]
    MissingPrefix {
        /// The log's boundary.
        boundary: EntryId,
    },
    /// The store failed.
    #[error("the store cannot be read")]
    Store(#[from] LogError),
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[from] std::io::Error),
}

/// A running member. Cloning gives another handle to the same one; when the last handle is dropped,
/// the member closes.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    status: watch::Receiver<Arc<NodeStatus>>,
    /// Hears when the store is closed.
    ended: tokio::sync::Mutex<Vec<oneshot::Receiver<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.post(Event::Close);
    }
}

impl Node {
    /// Starts a member on the runtime of the caller. The store must have been bootstrapped, now or
    /// ever.
    pub async fn start(
        config: NodeConfig,
        mut store: Box<dyn Store>,
        transport: Box<dyn Transport>,
        machine: Box<dyn StateMachine>,
    ) -> Result<Node, StartError> {
        let mut identity = store.load_identity().await?.ok_or(StartError::NotBootstrapped)?;
        if store.info().durability == Durability::Volatile {
            // What a volatile store remembers ends with the process: each start is another store.
            identity.store = StoreId(random_number());
        }
        let recovered = store.recover().await?;
        let start = start_from(recovered, machine.applied())?;
        let pump = new_pump(&config, identity, start)?;
        info!(%identity, backend = %store.info().backend, last = %pump.status().last, "starting");
        Node::launch(config, identity, store, transport, machine, pump)
    }

    fn launch(
        config: NodeConfig,
        identity: Identity,
        store: Box<dyn Store>,
        transport: Box<dyn Transport>,
        machine: Box<dyn StateMachine>,
        pump: Pump<Waiters>,
    ) -> Result<Node, StartError> {
        let (runtime, node) = (Handle::current(), identity.node);
        let (info, inbox) = (store.info(), Arc::<Inbox>::default());
        let reader = store.reader();
        let may_read_block = reader.may_block();
        let (reader, writer) = (Read::new(reader), Persist::new(store));
        let (machine, tasked) = match machine.is_cheap() {
            true => (Machine::Cheap(machine), None),
            false => {
                let desk = Arc::new(Desk::new());
                (Machine::Tasked(Arc::clone(&desk)), Some((machine, desk)))
            }
        };
        let (writer, away_writer) = Hand::new(writer, info.may_block);
        let (reader, away_reader) = Hand::new(reader, may_read_block);
        let (status, watched) = watch::channel(Arc::new(NodeStatus::of(identity, &pump, &info)));
        let runner = Runner {
            transport: Some(transport),
            machine,
            writer,
            reader,
            own_task: Waker::from(Arc::clone(&inbox)),
            wakers: Vec::new(),
            replies: Replies::default(),
        };
        let engine = Engine::new(pump, runner, info);
        let shared = Arc::new(Shared::new(identity, config.limits, inbox, engine, status));
        let mut ended = Vec::new();
        if let Some(writer) = away_writer {
            let persist = writer.work(Arc::clone(&shared));
            ended.push(spawn_thread("persist", node, &runtime, persist)?);
        }
        if let Some(reader) = away_reader {
            let read = reader.work(Arc::clone(&shared));
            ended.push(spawn_thread("read", node, &runtime, read)?);
        }
        if let Some((machine, desk)) = tasked {
            let apply = tasks::apply::run(machine, desk, Arc::clone(&shared));
            ended.push(spawn_task("apply", node, &runtime, apply));
        }
        shared.start_transport();
        let drive = tasks::drive::run(Arc::clone(&shared));
        ended.push(spawn_task("drive", node, &runtime, drive));
        let ended = tokio::sync::Mutex::new(ended);
        Ok(Node { inner: Arc::new(Inner { shared, status: watched, ended }) })
    }

    /// Proposes a command, and waits until it is applied here; gives the machine's answer. Waits
    /// for room first, where too many proposals wait already.
    ///
    /// Each error says whether the command may have happened: see [`ProposeError`]. Dropping the
    /// future withdraws nothing.
    pub async fn propose(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        let size = self.check_size(&command)?;
        self.inner.shared.proposals_room.enter(size).await;
        self.hand_in(command).await
    }

    /// Like [`Node::propose`], but answers [`ProposeError::Busy`] where there is no room.
    pub async fn try_propose(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        let size = self.check_size(&command)?;
        match self.inner.shared.proposals_room.try_enter(size) {
            true => self.hand_in(command).await,
            false => Err(ProposeError::Busy),
        }
    }

    /// Proposes many commands, in order; the answers come in the same order. Between them other
    /// clients' commands may be applied.
    pub async fn propose_many(
        &self,
        commands: impl IntoIterator<Item = Bytes>,
    ) -> Vec<Result<Bytes, ProposeError>> {
        let mut answers = Vec::new();
        for command in commands {
            answers.push(match self.check_size(&command) {
                Ok(size) => {
                    self.inner.shared.proposals_room.enter(size).await;
                    let (answer, next) = self.inner.shared.inbox.propose(command, None);
                    self.follow(next);
                    Ok(answer)
                }
                Err(error) => Err(error),
            });
        }
        let mut results = Vec::with_capacity(answers.len());
        for answer in answers {
            results.push(match answer {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            });
        }
        results
    }

    fn check_size(&self, command: &Bytes) -> Result<u64, ProposeError> {
        let (size, limit) = (command.len() as u64, self.inner.shared.limits.command_bytes);
        if size > limit { Err(ProposeError::TooLarge { size, limit }) } else { Ok(size) }
    }

    /// A command that comes alone is worth a turn of its caller's: no task is woken for it.
    async fn hand_in(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        let inbox = &self.inner.shared.inbox;
        let mut command = Some(command);
        let join = |context: &mut Context<'_>| {
            let command = command.take().expect("polled once");
            Poll::Ready(inbox.propose(command, Some(context.waker())))
        };
        let (answer, next) = poll_fn(join).await;
        self.follow(next);
        answer.await
    }

    fn follow(&self, next: Next) {
        match next {
            Next::TakeTurn => self.inner.shared.drive(),
            Next::WakeDriver => self.inner.shared.inbox.driver.notify_one(),
            Next::Nothing => {}
        }
    }

    /// Asks the machine, and gets what is current: the answer includes everything that was answered
    /// to any client before the call (a linearizable read).
    pub async fn read(&self, query: Bytes) -> Result<Bytes, ReadError> {
        Ok(self.ask(Some(query)).await?.answer)
    }

    /// Waits until everything that was answered to any client before the call has been applied
    /// here; whoever shares the machine's state may then read it. Gives the index that was
    /// committed.
    pub async fn barrier(&self) -> Result<LogIndex, ReadError> {
        Ok(self.ask(None).await?.index)
    }

    async fn ask(&self, query: Option<Bytes>) -> Result<ReadAnswer, ReadError> {
        let shared = &self.inner.shared;
        if !shared.reads_room.try_enter(0) {
            return Err(ReadError::Busy);
        }
        let (answer, next) = shared.inbox.read(query);
        self.follow(next);
        answer.await
    }

    /// The member as of its last tick or change of role.
    pub fn status(&self) -> Arc<NodeStatus> {
        Arc::clone(&self.inner.status.borrow())
    }

    /// The member's status, to be waited on.
    pub fn watch_status(&self) -> watch::Receiver<Arc<NodeStatus>> {
        self.inner.status.clone()
    }

    /// Waits until a leader is known, and gives it; `None` if the member ends before.
    pub async fn wait_for_leader(&self) -> Option<NodeId> {
        let mut status = self.watch_status();
        let known = |now: &Arc<NodeStatus>| now.closed || now.raft.soft_state.leader.is_some();
        let now = status.wait_for(known).await.ok()?;
        now.raft.soft_state.leader.filter(|_| !now.closed)
    }

    /// What happens to the member from now on.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.inner.shared.events.subscribe()
    }

    /// Closes the member: proposals that wait are answered [`ProposeError::Unknown`], the write in
    /// flight is finished, and the store is closed when this returns, so that it may be opened
    /// again.
    pub async fn shutdown(&self) {
        self.inner.shared.post(Event::Close);
        self.inner.shared.drive();
        let mut ended = self.inner.ended.lock().await;
        for task in ended.drain(..) {
            // A task that is gone has ended.
            let _ = task.await;
        }
    }
}

fn new_pump(
    config: &NodeConfig,
    identity: Identity,
    start: Start,
) -> Result<Pump<Waiters>, StartError> {
    let timing = config.timing;
    let protocol = Config {
        heartbeat_ticks: timing.heartbeat_ticks,
        election_ticks_min: timing.election_ticks_min,
        election_ticks_max: timing.election_ticks_max,
        stall_ticks: timing.stall_ticks,
        ..Config::new(identity.node, random_number())
    };
    protocol.check()?;
    Ok(Pump::new(identity, protocol, config.limits.clone(), start, random_number()))
}

/// What the core starts from: what the store remembers, and how far the machine is.
fn start_from(recovered: Recovered, applied: Option<EntryId>) -> Result<Start, StartError> {
    let (boundary, last) = (recovered.bounds.boundary, recovered.bounds.last);
    if last.index == LogIndex::ZERO {
        return Err(StartError::NotBootstrapped);
    }
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
        base: None,
        memberships: memberships.map(|(index, one)| (index, Arc::new(one))).collect(),
    })
}

fn term_at(recovered: &Recovered, index: LogIndex) -> Option<Term> {
    if index == recovered.bounds.boundary.index {
        return Some(recovered.bounds.boundary.term);
    }
    let run = recovered.term_runs.iter().rev().find(|run| run.first <= index);
    run.map(|run| run.term)
}
