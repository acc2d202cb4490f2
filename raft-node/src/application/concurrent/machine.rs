//! A state machine whose commands are executed by threads of its own.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use raft_core::types::EntryId;

use super::access::Access;
use super::schedule::Schedule;
use crate::application::{Committed, Fatal, Replies, Snapshot, StateMachine};
use crate::panics::caught;

/// A deterministic state machine that several threads call at once. Wrap it in [`Concurrent`] to
/// run it in a node.
///
/// The result of a command may depend only on its bytes, its id, and what [`Access`] says that it
/// reads or writes; and it may change only what it says that it writes.
pub trait ConcurrentMachine: Send + Sync + 'static {
    /// What a command reads and writes. This must not depend on the state: other commands are
    /// being executed. A command that cannot name it in advance says [`Access::everything`].
    fn access(&self, command: &[u8]) -> Access;

    /// Executes a command. No command that conflicts with it is executed at the same time, all
    /// earlier ones of those were, and no later one was.
    ///
    /// # Errors
    /// The command cannot be executed: the member stops, as after
    /// [`StateMachine::apply`](crate::StateMachine::apply).
    fn execute(&self, command: &Committed) -> Result<Bytes, Fatal>;

    /// The answer to a command, if it does not depend on the state, such as that of a write that
    /// cannot fail. The client is answered at once, and the command is executed behind.
    fn early_answer(&self, _command: &[u8]) -> Option<Bytes> {
        None
    }

    /// What a query reads. It waits for the commands before it that it conflicts with.
    fn access_of_query(&self, query: &[u8]) -> Access;

    /// Answers a query.
    fn read(&self, query: &[u8]) -> Bytes;

    /// As [`StateMachine::snapshot`]. No command is being executed.
    ///
    /// # Errors
    /// As there.
    fn snapshot(&self) -> io::Result<Box<dyn Snapshot>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// As [`StateMachine::restore`]. No command is being executed.
    ///
    /// # Errors
    /// As there.
    fn restore(&self, _last: EntryId, _reader: &mut dyn Read) -> Result<(), Fatal> {
        Err(Fatal::no_snapshots())
    }

    /// As [`StateMachine::applied`]: for a machine that keeps its own state durably, an entry up to
    /// which it has executed everything ([`ConcurrentMachine::note_prefix`]).
    fn applied(&self) -> Option<EntryId> {
        None
    }

    /// Every command up to this one is executed now. Called now and then, with rising ids.
    fn note_prefix(&self, _last: EntryId) {}
}

/// How many commands are executed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrentOptions {
    /// The threads that execute commands.
    pub threads: NonZeroUsize,
    /// The most commands between the oldest that is not done and the newest that was added.
    pub window: NonZeroUsize,
}

impl Default for ConcurrentOptions {
    /// One thread for each processor, and a window of 256 commands.
    fn default() -> ConcurrentOptions {
        let one = NonZeroUsize::MIN;
        let threads = std::thread::available_parallelism().unwrap_or(one);
        ConcurrentOptions { threads, window: NonZeroUsize::new(256).unwrap_or(one) }
    }
}

/// Runs a [`ConcurrentMachine`] as a [`StateMachine`]. Its threads end when it is dropped; what is
/// not executed by then is executed after a restart, from the log.
#[derive(Debug)]
pub struct Concurrent<M: ConcurrentMachine> {
    shared: Arc<Shared<M>>,
    window: usize,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<M> {
    machine: M,
    state: Mutex<State>,
    /// Notified when a command is ready, and at the end.
    ready: Condvar,
    /// Notified when a command is done, and when one has failed.
    progress: Condvar,
}

#[derive(Debug, Default)]
struct State {
    schedule: Schedule,
    /// The commands of the window, and whether the answer is wanted, from the schedule's prefix on.
    commands: VecDeque<(Committed, bool)>,
    /// Answers that were not taken yet. Invariant: at most one for each command of a batch.
    answers: BTreeMap<u64, Bytes>,
    /// Why a command could not be executed. Nothing is executed after that.
    failed: Option<Fatal>,
    is_closing: bool,
}

impl<M: ConcurrentMachine> Concurrent<M> {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system starts no more threads.
    pub fn new(machine: M, options: ConcurrentOptions) -> io::Result<Concurrent<M>> {
        let shared = Arc::new(Shared {
            machine,
            state: Mutex::default(),
            ready: Condvar::new(),
            progress: Condvar::new(),
        });
        let window = options.window.get();
        let mut this = Concurrent { shared, window, threads: Vec::new() };
        for number in 0..options.threads.get() {
            let shared = Arc::clone(&this.shared);
            let thread = std::thread::Builder::new().name(format!("execute-{number}"));
            this.threads.push(thread.spawn(move || shared.run())?);
        }
        Ok(this)
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.shared.machine
    }

    /// Adds commands to the window, as soon as there is room for each. Returns the number of the
    /// first.
    fn add(&self, commands: &[Committed], early: &[bool]) -> Result<u64, Fatal> {
        let mut state = self.shared.lock();
        let first = state.schedule.end();
        for (command, early) in commands.iter().zip(early) {
            let access = self.shared.machine.access(&command.command);
            state = self.shared.wait(state, |state| state.schedule.len() < self.window)?;
            state.commands.push_back((command.clone(), !early));
            state.schedule.add(access);
            self.shared.ready.notify_one();
        }
        Ok(first)
    }

    /// Waits until everything is executed.
    fn drain(&self) -> Result<(), Fatal> {
        let state = self.shared.lock();
        self.shared.wait(state, |state| state.schedule.len() == 0).map(drop)
    }
}

impl<M: ConcurrentMachine> StateMachine for Concurrent<M> {
    fn applied(&self) -> Option<EntryId> {
        self.shared.machine.applied()
    }

    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        let machine = &self.shared.machine;
        let early: Vec<Option<Bytes>> =
            commands.iter().map(|command| machine.early_answer(&command.command)).collect();
        let is_early: Vec<bool> = early.iter().map(Option::is_some).collect();
        let first = self.add(commands, &is_early)?;
        let mut state = self.shared.lock();
        for (number, early) in (first..).zip(early) {
            let answer = match early {
                Some(answer) => answer,
                None => {
                    let has_it = |state: &State| state.answers.contains_key(&number);
                    state = self.shared.wait(state, has_it)?;
                    state.answers.remove(&number).unwrap_or_default()
                }
            };
            replies.push(answer);
        }
        Ok(())
    }

    /// Panics if a command has failed, so that the member stops instead of answering from a state
    /// that lacks it.
    fn read(&self, query: &[u8]) -> Bytes {
        let access = self.shared.machine.access_of_query(query);
        let state = self.shared.lock();
        let end = state.schedule.end();
        let waited = self.shared.wait(state, |state| !state.schedule.is_blocked(&access, end));
        match waited {
            Ok(state) => drop(state),
            Err(failed) => panic!("a committed command could not be executed: {failed}"),
        }
        self.shared.machine.read(query)
    }

    fn snapshot(&mut self) -> io::Result<Box<dyn Snapshot>> {
        self.drain().map_err(io::Error::other)?;
        self.shared.machine.snapshot()
    }

    fn restore(&mut self, last: EntryId, reader: &mut dyn Read) -> Result<(), Fatal> {
        self.drain()?;
        self.shared.machine.restore(last, reader)
    }
}

impl<M: ConcurrentMachine> Drop for Concurrent<M> {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.ready.notify_all();
        for thread in self.threads.drain(..) {
            // A thread ends without a panic: those of the machine are caught.
            let _ = thread.join();
        }
    }
}

impl<M: ConcurrentMachine> Shared<M> {
    /// Executes commands until the end, or until one has failed.
    fn run(&self) {
        let mut state = self.lock();
        while !state.is_closing && state.failed.is_none() {
            let Some(number) = state.schedule.take() else {
                state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let at = (number - state.schedule.prefix()) as usize;
            let (command, is_wanted) = state.commands[at].clone();
            drop(state);
            let executed = caught(|| self.machine.execute(&command)).unwrap_or_else(failed);
            state = self.lock();
            let noted = executed.and_then(|answer| {
                let answer = is_wanted.then_some(answer);
                caught(|| self.note_done(&mut state, number, answer)).map_err(Fatal::new)
            });
            if let Err(fatal) = noted {
                state.failed.get_or_insert(fatal);
                self.ready.notify_all();
            }
            self.progress.notify_all();
        }
    }

    fn note_done(&self, state: &mut State, number: u64, answer: Option<Bytes>) {
        state.answers.extend(answer.map(|answer| (number, answer)));
        let before = state.schedule.prefix();
        state.schedule.done(number);
        let passed = (state.schedule.prefix() - before) as usize;
        let last = state.commands.drain(..passed).next_back();
        if let Some((last, _)) = last {
            // Under the lock, so that prefixes are noted in order.
            self.machine.note_prefix(last.id);
        }
        self.ready.notify_all();
    }

    /// Waits until this holds.
    ///
    /// # Errors
    /// A command has failed.
    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        holds: impl Fn(&State) -> bool,
    ) -> Result<MutexGuard<'a, State>, Fatal> {
        let not_yet = |state: &mut State| state.failed.is_none() && !holds(state);
        let waited = self.progress.wait_while(state, not_yet);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        match &state.failed {
            Some(failed) => Err(failed.clone()),
            None => Ok(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A panic in a command is its failure.
fn failed<T>(message: String) -> Result<T, Fatal> {
    Err(Fatal::new(message))
}
