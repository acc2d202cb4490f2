//! Workers that run concurrently with the pump: the store's writer and its reader, each inline or
//! on a thread, and the writer of snapshots, always on a thread.
//!
//! ```text
//!   executor --put--> WorkerHandle::Threaded --queue--> thread: Worker::work --> Reports
//!                     WorkerHandle::Inline: Worker::work, polled in the turn --> events
//! ```
//!
//! Work that may block has a thread and a queue in which the executor leaves it. Work that never
//! blocks is polled *inline*, in the turn: a memory log completes before the poll returns, and a
//! log on completion queues is polled again when a completion arrives. Such a poll always passes
//! the waker of the member's own task, whichever thread polls, since a client that takes one turn
//! may not take the next.
//!
//! A worker depends on [`Reports`] and on nothing else of the member. A panic in a worker is
//! reported as the reason for which the member stops; the worker is dropped.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tracing::error;

use super::clients::Waiters;
use super::work_queue::{WorkReceiver, WorkSender, work_queue};
use crate::panics::{caught, caught_future};
use crate::pump::{Event, StopReason};

/// Where a worker on another thread or task reports the outcome of its work.
pub(crate) trait Reports: Send + 'static {
    /// Leaves an event for the next turn, and wakes the member's own task to take it.
    fn report(&self, event: Event<Waiters>);

    /// Leaves an event, and takes the turn for it on the calling thread.
    fn report_and_drive(&self, event: Event<Waiters>);
}

/// Does one piece of work after another.
pub(crate) trait Worker: Sized + Send + 'static {
    /// Its name in the reason for which the member stops.
    const NAME: &'static str;

    /// A piece of work.
    type Work: Send + 'static;

    /// Whether the thread of the worker should run the next turn itself instead of waking the
    /// member's own task.
    fn takes_turn(work: &Self::Work) -> bool;

    /// Does a piece of work; returns the event for the pump, if the pump waits for one.
    fn work(&mut self, work: Self::Work) -> impl Future<Output = Option<Event<Waiters>>> + Send;

    /// Ends the worker and releases what it holds.
    fn finish(self) -> impl Future<Output = ()> + Send;
}

/// A worker as the executor sees it.
pub(crate) enum WorkerHandle<W: Worker> {
    /// On a thread of its own.
    Threaded(WorkSender<W::Work>),
    /// Polled in the turn.
    Inline(InlineWorker<W>),
}

/// A worker whose thread has not started yet, and the queue that it will empty.
pub(crate) struct ThreadedWorker<W: Worker> {
    worker: W,
    queue: WorkReceiver<W::Work>,
}

/// A worker for a thread, and the queue in which it finds its work.
pub(crate) fn threaded<W: Worker>(worker: W) -> (WorkSender<W::Work>, ThreadedWorker<W>) {
    let (sender, queue) = work_queue();
    (sender, ThreadedWorker { worker, queue })
}

impl<W: Worker> WorkerHandle<W> {
    /// An inline worker, or, if the worker may block, a handle and a worker for a thread.
    pub(crate) fn new(worker: W, may_block: bool) -> (WorkerHandle<W>, Option<ThreadedWorker<W>>) {
        if !may_block {
            return (WorkerHandle::Inline(InlineWorker::new(worker)), None);
        }
        let (sender, worker) = threaded(worker);
        (WorkerHandle::Threaded(sender), Some(worker))
    }

    /// Hands over work. The outcome of work that is done at once is added to `events`.
    pub(crate) fn put(&mut self, work: W::Work, waker: &Waker, events: &mut Vec<Event<Waiters>>) {
        match self {
            WorkerHandle::Threaded(sender) => sender.put(work),
            WorkerHandle::Inline(inline) => {
                inline.add(work);
                inline.poll(&mut Context::from_waker(waker), events);
            }
        }
    }

    /// Called when no more work will come: the worker does the work that it has, and ends.
    pub(crate) fn close(&mut self, waker: &Waker, events: &mut Vec<Event<Waiters>>) {
        match self {
            WorkerHandle::Threaded(sender) => sender.close(),
            WorkerHandle::Inline(inline) => {
                inline.is_closed = true;
                inline.poll(&mut Context::from_waker(waker), events);
            }
        }
    }

    /// Continues work that was not done at once.
    pub(crate) fn poll(&mut self, waker: &Waker, events: &mut Vec<Event<Waiters>>) {
        if let WorkerHandle::Inline(inline) = self {
            inline.poll(&mut Context::from_waker(waker), events);
        }
    }

    /// Whether nothing is left to be polled.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            WorkerHandle::Threaded(_) => true,
            WorkerHandle::Inline(inline) => matches!(inline.state, State::Gone),
        }
    }
}

impl<W: Worker> ThreadedWorker<W> {
    /// Works until the queue is closed and empty, or the worker panics.
    pub(crate) async fn run(self, reports: impl Reports) {
        let ThreadedWorker { mut worker, queue } = self;
        while let Some(work) = queue.take().await {
            let takes_turn = W::takes_turn(&work);
            match caught_future(worker.work(work)).await {
                Ok(Some(event)) if takes_turn => reports.report_and_drive(event),
                Ok(Some(event)) => reports.report(event),
                Ok(None) => {}
                Err(message) => return reports.report(panicked(W::NAME, message)),
            }
        }
        note_finish_panic(W::NAME, caught_future(worker.finish()).await);
    }
}

/// The event that stops the member because one of its parts has panicked.
pub(crate) fn panicked(place: &'static str, message: String) -> Event<Waiters> {
    Event::Stop(StopReason::Panic { place, message })
}

fn note_finish_panic(place: &str, finished: Result<(), String>) {
    if let Err(message) = finished {
        error!("{place} panicked while the member ended: {message}");
    }
}

// ---- inline ----

/// A worker that is polled in the turn, and the work that waits for it.
pub(crate) struct InlineWorker<W: Worker> {
    state: State<W>,
    waiting: VecDeque<W::Work>,
    is_closed: bool,
}

/// The worker moves into the future of its work, and comes back with the outcome.
enum State<W> {
    Idle(Box<W>),
    Busy(Work<W>),
    Finishing(Pin<Box<dyn Future<Output = ()> + Send>>),
    Gone,
}

/// The future of a worker's current work.
type Work<W> = Pin<Box<dyn Future<Output = (Box<W>, Option<Event<Waiters>>)> + Send>>;

/// Returns the worker once its work is done, or the panic's message if it panics.
fn poll_work<W>(
    work: &mut Work<W>,
    context: &mut Context<'_>,
    events: &mut Vec<Event<Waiters>>,
) -> Result<Option<Box<W>>, String> {
    caught(|| match work.as_mut().poll(context) {
        Poll::Ready((worker, event)) => {
            events.extend(event);
            Some(worker)
        }
        Poll::Pending => None,
    })
}

impl<W: Worker> InlineWorker<W> {
    fn new(worker: W) -> InlineWorker<W> {
        let state = State::Idle(Box::new(worker));
        InlineWorker { state, waiting: VecDeque::new(), is_closed: false }
    }

    /// Begins the work, unless the worker has other work; the caller polls then. Drops the work if
    /// the worker is gone.
    fn add(&mut self, work: W::Work) {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Idle(worker) if self.waiting.is_empty() => self.state = begin(worker, work),
            State::Gone => {}
            state => {
                self.state = state;
                self.waiting.push_back(work);
            }
        }
    }

    /// Whether a poll would find nothing to do.
    fn is_at_rest(&self) -> bool {
        match &self.state {
            State::Idle(_) => self.waiting.is_empty() && !self.is_closed,
            State::Gone => true,
            State::Busy(_) | State::Finishing(_) => false,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>, events: &mut Vec<Event<Waiters>>) {
        while !self.is_at_rest() {
            // If a poll panics, the worker is lost.
            self.state = match std::mem::replace(&mut self.state, State::Gone) {
                State::Idle(worker) => match self.waiting.pop_front() {
                    Some(work) => begin(worker, work),
                    None => State::Finishing(Box::pin(worker.finish())),
                },
                State::Busy(mut busy) => match poll_work(&mut busy, context, events) {
                    Ok(Some(worker)) => State::Idle(worker),
                    Ok(None) => {
                        self.state = State::Busy(busy);
                        return;
                    }
                    Err(message) => {
                        events.push(panicked(W::NAME, message));
                        self.waiting.clear();
                        State::Gone
                    }
                },
                State::Finishing(mut finishing) => {
                    match caught(|| finishing.as_mut().poll(context)) {
                        Ok(Poll::Pending) => {
                            self.state = State::Finishing(finishing);
                            return;
                        }
                        finished => {
                            note_finish_panic(W::NAME, finished.map(|_| ()));
                            State::Gone
                        }
                    }
                }
                State::Gone => State::Gone,
            };
        }
    }
}

fn begin<W: Worker>(mut worker: Box<W>, work: W::Work) -> State<W> {
    State::Busy(Box::pin(async move {
        let event = worker.work(work).await;
        (worker, event)
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    use super::*;

    /// A worker that does its work once its gate is open.
    struct Gated {
        gate: Arc<Gate>,
        finished: Arc<AtomicBool>,
    }

    #[derive(Default)]
    struct Gate {
        open: AtomicBool,
        waiting: Mutex<Option<Waker>>,
    }

    impl Worker for Gated {
        const NAME: &'static str = "the test's worker";

        type Work = ();

        fn takes_turn((): &()) -> bool {
            false
        }

        async fn work(&mut self, (): ()) -> Option<Event<Waiters>> {
            std::future::poll_fn(|context| {
                *self.gate.waiting.lock().expect("no panic") = Some(context.waker().clone());
                if self.gate.open.load(Ordering::Relaxed) {
                    Poll::Ready(Some(Event::Applied { recorded: Vec::new() }))
                } else {
                    Poll::Pending
                }
            })
            .await
        }

        async fn finish(self) {
            self.finished.store(true, Ordering::Relaxed);
        }
    }

    struct Silent;

    impl Wake for Silent {
        fn wake(self: Arc<Silent>) {}
    }

    #[test]
    fn work_is_done_in_order_and_the_end_waits_for_it() {
        let (gate, finished) = (Arc::<Gate>::default(), Arc::<AtomicBool>::default());
        let worker = Gated { gate: Arc::clone(&gate), finished: Arc::clone(&finished) };
        let (mut handle, _) = WorkerHandle::new(worker, false);
        let mut events = Vec::new();
        let waker = &Waker::from(Arc::new(Silent));
        handle.put((), waker, &mut events);
        handle.put((), waker, &mut events);
        handle.close(waker, &mut events);
        assert!(events.is_empty() && !handle.is_gone());
        let registered = gate.waiting.lock().expect("no panic").take();
        assert!(registered.is_some_and(|other| other.will_wake(waker)), "the given waker");
        gate.open.store(true, Ordering::Relaxed);
        handle.poll(waker, &mut events);
        assert_eq!(events.len(), 2);
        assert!(handle.is_gone() && finished.load(Ordering::Relaxed));
    }

    /// A worker that waits once in each piece of work, and then panics.
    struct Panics;

    impl Worker for Panics {
        const NAME: &'static str = "the test's worker";

        type Work = Arc<()>;

        fn takes_turn(_: &Arc<()>) -> bool {
            false
        }

        async fn work(&mut self, _work: Arc<()>) -> Option<Event<Waiters>> {
            tokio::task::yield_now().await;
            panic!("a planted panic")
        }

        async fn finish(self) {}
    }

    #[test]
    fn work_of_a_worker_that_panicked_is_dropped() {
        let (mut handle, _) = WorkerHandle::new(Panics, false);
        let (work, mut events) = (Arc::new(()), Vec::new());
        handle.put(Arc::clone(&work), Waker::noop(), &mut events);
        assert!(events.is_empty() && Arc::strong_count(&work) == 2, "it is being done");
        handle.put(Arc::clone(&work), Waker::noop(), &mut events);
        assert!(matches!(events[..], [Event::Stop(StopReason::Panic { .. })]));
        assert_eq!(Arc::strong_count(&work), 1, "what was done and what waited is dropped");
        handle.put(Arc::clone(&work), Waker::noop(), &mut events);
        assert_eq!(Arc::strong_count(&work), 1, "and what comes later");
    }
}
