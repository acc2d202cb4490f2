//! The answers to requests that were handed in together, in one place.
//!
//! A request has a place in a *batch* that it shares with those that came in the same moment: one
//! allocation, one lock and one pass of wakes for all of them, instead of a channel for each
//! request.
//!
//! ```text
//!   OpenBatch --join--> Reply (a future, the client's side)
//!       |                  |
//!      seal                | both lock the same places
//!       v                  |
//!   Answers ----answer-----+     the member's side; the last one that is dropped
//!                                answers what is left with `Answer::abandoned`
//! ```
//!
//! So a client never waits for a batch that the member has dropped, for whatever reason: a batch
//! that is lost on the way, or in a panic, is answered when its last handle is dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard};

/// An answer to a request.
pub(crate) trait Answer {
    /// The answer to a request whose batch the member dropped: the outcome is not known.
    fn abandoned() -> Self;
}

/// The state that the two sides of a batch share.
#[derive(Debug)]
struct ReplyBatch<A> {
    places: Mutex<Places<A>>,
    /// How many [`Answers`] there are.
    holders: AtomicUsize,
    /// Whether every place was answered, so that the last holder has nothing to do.
    is_answered: AtomicBool,
}

#[derive(Debug)]
struct Places<A> {
    /// Until the batch is sealed, only the places that a client has polled or dropped already, up
    /// to the last of them.
    places: Vec<Place<A>>,
    /// Places that were answered; at most all of them.
    answered: usize,
}

#[derive(Debug)]
struct Place<A> {
    state: State<A>,
    /// The bytes of the request.
    size: u32,
}

#[derive(Debug)]
enum State<A> {
    /// The waker is that of the client's last poll, if there was one.
    Waiting(Option<Waker>),
    Answered(A),
    /// The answer was taken, or the client no longer waits for it.
    Done,
}

/// A batch that requests may still join.
#[derive(Debug)]
pub(crate) struct OpenBatch<A: Answer> {
    joined: Vec<Place<A>>,
    answers: Answers<A>,
}

/// The member's side of a batch, shared by all parts of the member that answer places of it.
#[derive(Debug)]
pub(crate) struct Answers<A: Answer>(Arc<ReplyBatch<A>>);

impl<A: Answer> OpenBatch<A> {
    pub(crate) fn new() -> OpenBatch<A> {
        let places = Places { places: Vec::new(), answered: 0 };
        let (places, holders) = (Mutex::new(places), AtomicUsize::new(1));
        let batch = ReplyBatch { places, holders, is_answered: AtomicBool::new(false) };
        OpenBatch { joined: Vec::new(), answers: Answers(Arc::new(batch)) }
    }

    /// Adds a place for a request of so many bytes. With the waker of the task that is about to
    /// wait, the next poll of the reply must be made by that task; it then costs no lock.
    pub(crate) fn join(&mut self, size: u32, waker: Option<&Waker>) -> Reply<A> {
        let (place, batch) = (self.joined.len(), Arc::clone(&self.answers.0));
        self.joined.push(Place { state: State::Waiting(waker.cloned()), size });
        Reply { batch, place, is_registered: waker.is_some(), is_taken: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.joined.len()
    }

    /// No request joins any more: the places move into the state that both sides share.
    pub(crate) fn seal(self) -> Answers<A> {
        let OpenBatch { mut joined, answers } = self;
        let mut shared = answers.0.lock();
        // If a reply was polled or dropped in the meantime, its own state is newer than its
        // registration.
        for (place, seen) in joined.iter_mut().zip(shared.places.drain(..)) {
            if !matches!(seen.state, State::Waiting(None)) {
                place.state = seen.state;
            }
        }
        shared.places = joined;
        drop(shared);
        answers
    }
}

impl<A: Answer> Answers<A> {
    /// Answers places from `first` on, each at most once. The wakers of the clients that wait are
    /// added to `wakers`; the caller wakes them once it holds no lock. Returns the bytes of the
    /// requests that were answered.
    pub(crate) fn answer(
        &self,
        first: usize,
        answers: impl IntoIterator<Item = A>,
        wakers: &mut Vec<Waker>,
    ) -> u64 {
        let mut bytes = 0;
        let mut shared = self.0.lock();
        let Places { places, answered } = &mut *shared;
        for (place, answer) in places[first..].iter_mut().zip(answers) {
            bytes += u64::from(place.size);
            *answered += 1;
            if let State::Waiting(waker) = &mut place.state {
                wakers.extend(waker.take());
                place.state = State::Answered(answer);
            }
        }
        if *answered == places.len() {
            self.0.is_answered.store(true, Ordering::Release);
        }
        bytes
    }

    /// The bytes of `count` requests from `first` on.
    pub(crate) fn bytes(&self, first: usize, count: usize) -> u64 {
        let shared = self.0.lock();
        shared.places[first..].iter().take(count).map(|place| u64::from(place.size)).sum()
    }
}

impl<A: Answer> Clone for Answers<A> {
    fn clone(&self) -> Answers<A> {
        self.0.holders.fetch_add(1, Ordering::Relaxed);
        Answers(Arc::clone(&self.0))
    }
}

impl<A: Answer> Drop for Answers<A> {
    fn drop(&mut self) {
        let is_last = self.0.holders.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && !self.0.is_answered.load(Ordering::Acquire) {
            let wakers = self.0.lock().abandon();
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

impl<A> ReplyBatch<A> {
    fn lock(&self) -> MutexGuard<'_, Places<A>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Answer> Places<A> {
    /// Answers the places that are left, and returns the wakers of the clients that wait for them.
    fn abandon(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for place in &mut self.places {
            if let State::Waiting(waker) = &mut place.state {
                wakers.extend(waker.take());
                place.state = State::Answered(A::abandoned());
            }
        }
        wakers
    }
}

/// One request's answer, to be awaited. Dropping it does not withdraw the request.
#[derive(Debug)]
pub(crate) struct Reply<A> {
    batch: Arc<ReplyBatch<A>>,
    place: usize,
    /// The waker of the next poll is registered already.
    is_registered: bool,
    is_taken: bool,
}

impl<A> Reply<A> {
    /// The place; it is created if the batch is not sealed yet.
    fn place<'a>(&self, shared: &'a mut Places<A>) -> &'a mut State<A> {
        while shared.places.len() <= self.place {
            shared.places.push(Place { state: State::Waiting(None), size: 0 });
        }
        &mut shared.places[self.place].state
    }
}

impl<A> Future for Reply<A> {
    type Output = A;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A> {
        if std::mem::take(&mut self.is_registered) {
            return Poll::Pending;
        }
        let answer = {
            let mut shared = self.batch.lock();
            let place = self.place(&mut shared);
            match std::mem::replace(place, State::Done) {
                State::Answered(answer) => answer,
                State::Waiting(_) => {
                    *place = State::Waiting(Some(context.waker().clone()));
                    return Poll::Pending;
                }
                State::Done => unreachable!("a reply is awaited once"),
            }
        };
        self.is_taken = true;
        Poll::Ready(answer)
    }
}

impl<A> Drop for Reply<A> {
    fn drop(&mut self) {
        if !self.is_taken {
            *self.place(&mut self.batch.lock()) = State::Done;
        }
    }
}
