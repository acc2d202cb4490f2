//! The answers to requests that were handed in together, in one place.
//!
//! A request is a place in a *cell* that it shares with those that came in the same moment: one
//! allocation, one lock and one sweep of wakes for all of them, where a channel each would cost
//! every request its own. Places are taken while the group is open ([`Places`]), and move into the
//! cell when it is sealed.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Places for answers, filled in any order.
#[derive(Debug)]
pub(crate) struct Cell<A> {
    /// Until the cell is sealed, only those that somebody looked for.
    places: Mutex<Vec<Place<A>>>,
}

/// The places of a group that is still open, and the cell where they will be.
#[derive(Debug)]
pub(crate) struct Places<A> {
    places: Vec<Place<A>>,
    cell: Arc<Cell<A>>,
}

#[derive(Debug)]
struct Place<A> {
    state: State<A>,
    /// The bytes of the request.
    size: u32,
}

#[derive(Debug)]
enum State<A> {
    Open(Option<Waker>),
    Answered(A),
    /// The answer was taken, or nobody wants it any more.
    Done,
}

impl<A> Places<A> {
    pub(crate) fn new() -> Places<A> {
        Places { places: Vec::new(), cell: Arc::new(Cell { places: Mutex::default() }) }
    }

    /// Takes a place for a request of so many bytes. With the waker of who is about to wait for it,
    /// the first poll of the answer must be made with the same.
    pub(crate) fn join(&mut self, size: u32, waker: Option<&Waker>) -> Answer<A> {
        let (place, cell) = (self.places.len(), Arc::clone(&self.cell));
        self.places.push(Place { state: State::Open(waker.cloned()), size });
        Answer { cell, place, is_registered: waker.is_some(), is_taken: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Nobody joins any more.
    pub(crate) fn seal(mut self) -> Arc<Cell<A>> {
        let mut places = self.cell.lock();
        // Who looked meanwhile knows better who waits, or that nobody does.
        for (joined, seen) in self.places.iter_mut().zip(places.drain(..)) {
            if !matches!(seen.state, State::Open(None)) {
                joined.state = seen.state;
            }
        }
        *places = self.places;
        drop(places);
        self.cell
    }
}

impl<A> Cell<A> {
    /// Fills places from `first` on; who waits is added to `wakers`, to be woken once no lock is
    /// held. Gives the bytes of the requests that were answered.
    pub(crate) fn answer(
        &self,
        first: usize,
        answers: impl IntoIterator<Item = A>,
        wakers: &mut Vec<Waker>,
    ) -> u64 {
        let mut bytes = 0;
        let mut places = self.lock();
        for (place, answer) in places[first..].iter_mut().zip(answers) {
            bytes += u64::from(place.size);
            if let State::Open(waker) = &mut place.state {
                wakers.extend(waker.take());
                place.state = State::Answered(answer);
            }
        }
        bytes
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
    /// The waker of the poll to come is registered.
    is_registered: bool,
    is_taken: bool,
}

impl<A> Answer<A> {
    /// The place, made where the cell is not sealed yet.
    fn place<'a>(&self, places: &'a mut Vec<Place<A>>) -> &'a mut State<A> {
        while places.len() <= self.place {
            places.push(Place { state: State::Open(None), size: 0 });
        }
        &mut places[self.place].state
    }
}

impl<A> Future for Answer<A> {
    type Output = A;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A> {
        if std::mem::take(&mut self.is_registered) {
            return Poll::Pending;
        }
        let answer = {
            let mut places = self.cell.lock();
            let place = self.place(&mut places);
            match std::mem::replace(place, State::Done) {
                State::Answered(answer) => answer,
                State::Open(_) => {
                    *place = State::Open(Some(context.waker().clone()));
                    return Poll::Pending;
                }
                State::Done => unreachable!("an answer is awaited once"),
            }
        };
        self.is_taken = true;
        Poll::Ready(answer)
    }
}

impl<A> Drop for Answer<A> {
    fn drop(&mut self) {
        if !self.is_taken {
            *self.place(&mut self.cell.lock()) = State::Done;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Bell>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A waker, and how often it was woken.
    fn bell() -> (Arc<Bell>, Waker) {
        let bell = Arc::new(Bell::default());
        (Arc::clone(&bell), Waker::from(bell))
    }

    fn poll(answer: &mut Answer<u32>, waker: &Waker) -> Poll<u32> {
        Pin::new(answer).poll(&mut Context::from_waker(waker))
    }

    fn answer_and_wake(cell: &Cell<u32>, first: usize, answers: &[u32]) {
        let mut wakers = Vec::new();
        cell.answer(first, answers.iter().copied(), &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    #[test]
    fn each_gets_its_own_answer_in_parts() {
        let (mut places, (heard, waker)) = (Places::new(), bell());
        let mut answers: Vec<_> = (0..3).map(|_| places.join(1, Some(&waker))).collect();
        answers.iter_mut().for_each(|answer| assert!(poll(answer, &waker).is_pending()));
        let cell = places.seal();
        answer_and_wake(&cell, 1, &[11, 12]);
        assert_eq!(heard.0.load(Ordering::Relaxed), 2);
        assert!(poll(&mut answers[0], &waker).is_pending());
        assert_eq!(poll(&mut answers[2], &waker), Poll::Ready(12));
        answer_and_wake(&cell, 0, &[10]);
        assert_eq!(poll(&mut answers[0], &waker), Poll::Ready(10));
        assert_eq!(poll(&mut answers[1], &waker), Poll::Ready(11));
    }

    /// What would go wrong: a future that is polled again elsewhere before its group is sealed
    /// would be answered to the task that it came from.
    #[test]
    fn who_looked_before_the_seal_is_woken_at_its_new_place() {
        let (mut places, (old, before), (new, now)) = (Places::new(), bell(), bell());
        let mut answer = places.join(1, Some(&before));
        assert!(poll(&mut answer, &before).is_pending());
        assert!(poll(&mut answer, &now).is_pending());
        let cell = places.seal();
        answer_and_wake(&cell, 0, &[7]);
        assert_eq!((old.0.load(Ordering::Relaxed), new.0.load(Ordering::Relaxed)), (0, 1));
        assert_eq!(poll(&mut answer, &now), Poll::Ready(7));
    }

    #[test]
    fn who_left_is_not_woken() {
        let (mut places, (heard, waker)) = (Places::new(), bell());
        let (early, late) = (places.join(1, Some(&waker)), places.join(1, Some(&waker)));
        drop(early);
        let cell = places.seal();
        drop(late);
        answer_and_wake(&cell, 0, &[1, 2]);
        assert_eq!(heard.0.load(Ordering::Relaxed), 0);
    }
}
