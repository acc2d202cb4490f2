//! Who works beside the pump: a store's writer and its reader.
//!
//! Work that may block has a thread, and a desk where the pump leaves it. Work that never blocks is
//! polled *in place*, by whoever holds the pump: a memory log is done before the poll returns, and
//! a log on completion queues returns when they have something. Such a poll always carries the
//! waker of the member's own task, whoever polls, since a client that took one turn will not be
//! there for the next.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::desk::Desk;
use crate::pump::Event;
use crate::shared::Shared;
use crate::waiters::Waiters;

/// Something that does one piece of work after another.
pub(crate) trait Worker: Sized + Send + 'static {
    /// A piece of work.
    type Work: Send + 'static;

    /// Whether what follows from a piece of work is worth no wake of the member's own task: then
    /// the worker's thread takes the turn.
    fn is_alone(work: &Self::Work) -> bool;

    /// Does it; says what the pump is to hear.
    fn work(&mut self, work: Self::Work) -> impl Future<Output = Event<Waiters>> + Send;

    /// Ends in good order.
    fn finish(self) -> impl Future<Output = ()> + Send;
}

/// A worker as the engine sees it.
pub(crate) enum Hand<W: Worker> {
    /// On a thread of its own.
    Away(Arc<Desk<W::Work>>),
    /// Right here.
    Here(InPlace<W>),
}

/// A worker that is polled in place, and the work that waits for it.
pub(crate) struct InPlace<W: Worker> {
    state: State<W>,
    waiting: VecDeque<W::Work>,
    is_closed: bool,
}

/// The worker goes into the future of its work, and comes back with the result.
enum State<W> {
    Idle(W),
    Busy(Pin<Box<dyn Future<Output = (W, Event<Waiters>)> + Send>>),
    Finishing(Pin<Box<dyn Future<Output = ()> + Send>>),
    Gone,
}

/// A worker on its way to a thread, and the desk that it will work off.
pub(crate) struct Away<W: Worker> {
    worker: W,
    desk: Arc<Desk<W::Work>>,
}

impl<W: Worker> Away<W> {
    /// Works until the desk is closed.
    pub(crate) async fn work(mut self, shared: Arc<Shared>) {
        while let Some(work) = self.desk.take().await {
            let is_alone = W::is_alone(&work);
            let event = self.worker.work(work).await;
            match is_alone {
                true => shared.take_in(event),
                false => shared.post(event),
            }
        }
        self.worker.finish().await;
    }
}

impl<W: Worker> Hand<W> {
    /// Finds a worker its place: here; or, where it may block, away.
    pub(crate) fn new(worker: W, may_block: bool) -> (Hand<W>, Option<Away<W>>) {
        match may_block {
            false => (Hand::here(worker), None),
            true => {
                let desk = Arc::new(Desk::new());
                (Hand::Away(Arc::clone(&desk)), Some(Away { worker, desk }))
            }
        }
    }

    fn here(worker: W) -> Hand<W> {
        let state = State::Idle(worker);
        Hand::Here(InPlace { state, waiting: VecDeque::new(), is_closed: false })
    }

    /// Hands over work. What is done at once is told through `events`.
    pub(crate) fn put(&mut self, work: W::Work, waker: &Waker, events: &mut Vec<Event<Waiters>>) {
        match self {
            Hand::Away(desk) => desk.put(work),
            Hand::Here(here) => {
                here.waiting.push_back(work);
                here.poll(&mut Context::from_waker(waker), events);
            }
        }
    }

    /// No more work will come.
    pub(crate) fn close(&mut self, waker: &Waker, events: &mut Vec<Event<Waiters>>) {
        match self {
            Hand::Away(desk) => desk.close(),
            Hand::Here(here) => {
                here.is_closed = true;
                here.poll(&mut Context::from_waker(waker), events);
            }
        }
    }

    /// Goes on with what was not done at once.
    pub(crate) fn poll(&mut self, waker: &Waker, events: &mut Vec<Event<Waiters>>) {
        if let Hand::Here(here) = self {
            here.poll(&mut Context::from_waker(waker), events);
        }
    }

    /// Whether nothing is left to be polled.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Hand::Away(_) => true,
            Hand::Here(here) => matches!(here.state, State::Gone),
        }
    }
}

impl<W: Worker> InPlace<W> {
    fn poll(&mut self, context: &mut Context<'_>, events: &mut Vec<Event<Waiters>>) {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Gone) {
                State::Idle(worker) => match self.waiting.pop_front() {
                    Some(work) => begin(worker, work),
                    None if self.is_closed => State::Finishing(Box::pin(worker.finish())),
                    None => {
                        self.state = State::Idle(worker);
                        return;
                    }
                },
                State::Busy(mut busy) => match busy.as_mut().poll(context) {
                    Poll::Ready((worker, event)) => {
                        events.push(event);
                        State::Idle(worker)
                    }
                    Poll::Pending => {
                        self.state = State::Busy(busy);
                        return;
                    }
                },
                State::Finishing(mut finishing) => match finishing.as_mut().poll(context) {
                    Poll::Ready(()) => State::Gone,
                    Poll::Pending => {
                        self.state = State::Finishing(finishing);
                        return;
                    }
                },
                State::Gone => return,
            };
        }
    }
}

fn begin<W: Worker>(mut worker: W, work: W::Work) -> State<W> {
    State::Busy(Box::pin(async move {
        let event = worker.work(work).await;
        (worker, event)
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    /// Does what it is told once its gate is open.
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
        type Work = ();

        fn is_alone((): &()) -> bool {
            false
        }

        async fn work(&mut self, (): ()) -> Event<Waiters> {
            std::future::poll_fn(|context| {
                *self.gate.waiting.lock().expect("no panic") = Some(context.waker().clone());
                match self.gate.open.load(Ordering::Relaxed) {
                    true => Poll::Ready(Event::Applied),
                    false => Poll::Pending,
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
        let (mut hand, mut events) = (Hand::here(worker), Vec::new());
        let waker = &Waker::from(Arc::new(Silent));
        hand.put((), waker, &mut events);
        hand.put((), waker, &mut events);
        hand.close(waker, &mut events);
        assert!(events.is_empty() && !hand.is_gone());
        let kept = gate.waiting.lock().expect("no panic").take();
        assert!(kept.is_some_and(|kept| kept.will_wake(waker)), "the waker that was given");
        gate.open.store(true, Ordering::Relaxed);
        hand.poll(waker, &mut events);
        assert_eq!(events.len(), 2);
        assert!(hand.is_gone() && finished.load(Ordering::Relaxed));
    }
}
