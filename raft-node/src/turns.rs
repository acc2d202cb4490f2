//! Who takes turns: the member's own task, a client, or whoever brought something.
//!
//! The lock of the engine is only ever tried. Who fails leaves what it brought in the inbox, and
//! the holder looks there again after letting go. Clients are woken when no lock is held.
//!
//! Members of one process feed each other. Whoever drives a member also drives those that it has
//! fed, one after another and never one inside another, so that a write goes round all of them
//! without one task waking the next:
//!
//! ```text
//!   client -> leader -> follower, follower -> leader -> client
//! ```
//!
//! A *lap* is what one such drive does on one thread. It is bounded: what is left after
//! [`MOST_DRIVES`] is for the members' own tasks, so that nothing else on the runtime starves.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, TryLockError};
use std::task::Waker;

use crate::shared::Shared;

/// The most turns that one drive of a member takes.
const MOST_TURNS: usize = 8;

/// The most members that one lap drives, each as often as it was fed.
const MOST_DRIVES: usize = 32;

thread_local! {
    static FED: RefCell<Fed> = const { RefCell::new(Fed::NOTHING) };
}

/// What the lap on a thread has yet to do.
struct Fed {
    /// Whether a lap runs.
    runs: bool,
    members: VecDeque<Arc<Shared>>,
}

impl Fed {
    const NOTHING: Fed = Fed { runs: false, members: VecDeque::new() };
}

impl Shared {
    /// Takes turns until there is nothing left to do here, or someone else does it, and then drives
    /// the members that were fed.
    pub(crate) fn drive(self: &Arc<Shared>) {
        match Lap::begin() {
            Some(lap) => {
                self.take_turns();
                lap.run();
            }
            None => add_to_lap(self),
        }
    }

    /// The same for who only brought something: this member's misfortune is not its own.
    pub(crate) fn drive_fed(self: &Arc<Shared>) {
        let lap = Lap::begin();
        add_to_lap(self);
        if let Some(lap) = lap {
            lap.run();
        }
    }

    fn take_turns(&self) {
        for _ in 0..MOST_TURNS {
            let wakers = match self.engine.try_lock() {
                Ok(mut engine) => engine.turn(self),
                Err(TryLockError::WouldBlock) => return,
                Err(TryLockError::Poisoned(_)) => panic!("a turn panicked; the member is gone"),
            };
            wakers.into_iter().for_each(Waker::wake);
            if self.inbox.is_empty() {
                return;
            }
        }
        self.inbox.driver.notify_one();
    }
}

fn add_to_lap(member: &Arc<Shared>) {
    FED.with_borrow_mut(|fed| {
        if !fed.members.iter().any(|other| Arc::ptr_eq(other, member)) {
            fed.members.push_back(Arc::clone(member));
        }
    });
}

/// The lap on this thread, until it is dropped.
struct Lap;

impl Lap {
    /// Begins one, unless one runs.
    fn begin() -> Option<Lap> {
        let runs = FED.with_borrow_mut(|fed| std::mem::replace(&mut fed.runs, true));
        (!runs).then_some(Lap)
    }

    fn run(self) {
        for _ in 0..MOST_DRIVES {
            let next = FED.with_borrow_mut(|fed| fed.members.pop_front());
            let Some(member) = next else { return };
            // A panic belongs to the member that had it: its own task finds the lock poisoned, and
            // panics in its turn.
            if catch_unwind(AssertUnwindSafe(|| member.take_turns())).is_err() {
                member.inbox.driver.notify_one();
            }
        }
    }
}

impl Drop for Lap {
    fn drop(&mut self) {
        let left = FED.with_borrow_mut(|fed| {
            fed.runs = false;
            let is_done = fed.members.is_empty();
            (!is_done).then(|| std::mem::take(&mut fed.members))
        });
        for member in left.into_iter().flatten() {
            member.inbox.driver.notify_one();
        }
    }
}
