//! The answers to requests that were handed in together, in one place.
//!
//! A request is a place in a *cell* that it shares with those that came in the same moment: one
//! allocation, one lock and one sweep of wakes for all of them, where a channel each would cost
//! every request its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Places for answers, filled in any order.
#[derive(Debug)]
pub(crate) struct Cell<A> {
    places: Mutex<Vec<Place<A>>>,
}

#[derive(Debug)]
enum Place<A> {
    Open(Option<Waker>),
    Answered(A),
    /// The answer was taken, or nobody wants it any more.
    Done,
}

impl<A> Cell<A> {
    pub(crate) fn new() -> Arc<Cell<A>> {
        Arc::new(Cell { places: Mutex::new(Vec::new()) })
    }

    /// Takes a place.
    pub(crate) fn join(self: &Arc<Cell<A>>) -> Answer<A> {
        let mut places = self.lock();
        places.push(Place::Open(None));
        Answer { cell: Arc::clone(self), place: places.len() - 1 }
    }

    /// Fills places from `first` on; who waits is added to `wakers`, to be woken once no lock is
    /// held.
    pub(crate) fn answer(
        &self,
        first: usize,
        answers: impl IntoIterator<Item = A>,
        wakers: &mut Vec<Waker>,
    ) {
        let mut places = self.lock();
        for (place, answer) in places[first..].iter_mut().zip(answers) {
            match std::mem::replace(place, Place::Done) {
                Place::Open(waker) => {
                    *place = Place::Answered(answer);
                    wakers.extend(waker);
                }
                done => *place = done,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Place<A>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's answer, to be awaited. Dropping it withdraws nothing.
#[derive(Debug)]
pub(crate) struct Answer<A> {
    cell: Arc<Cell<A>>,
    place: usize,
}

impl<A> Future for Answer<A> {
    type Output = A;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A> {
        let mut places = self.cell.lock();
        let place = &mut places[self.place];
        match std::mem::replace(place, Place::Done) {
            Place::Answered(answer) => Poll::Ready(answer),
            Place::Open(_) => {
                *place = Place::Open(Some(context.waker().clone()));
                Poll::Pending
            }
            Place::Done => unreachable!("an answer is awaited once"),
        }
    }
}

impl<A> Drop for Answer<A> {
    fn drop(&mut self) {
        self.cell.lock()[self.place] = Place::Done;
    }
}
