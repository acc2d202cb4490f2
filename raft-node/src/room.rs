//! Room for requests: how many may wait at a member at once, and with how many bytes.
//!
//! This is where back-pressure begins. Who finds no room waits for it, or is told so; nothing grows
//! without a bound because clients are faster than the disk.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A bound on requests and on their bytes.
#[derive(Debug)]
pub(crate) struct Room {
    used: Mutex<Used>,
    limit: Used,
    freed: Notify,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Used {
    requests: u64,
    bytes: u64,
    waiting: u64,
}

impl Room {
    pub(crate) fn new(requests: u64, bytes: u64) -> Room {
        let limit = Used { requests, bytes, waiting: 0 };
        Room { used: Mutex::default(), limit, freed: Notify::new() }
    }

    /// Takes room for one request, if there is any. A request larger than all the room gets it when
    /// it is alone.
    pub(crate) fn try_enter(&self, bytes: u64) -> Entered {
        let mut used = self.lock();
        let fits = used.requests < self.limit.requests && used.bytes + bytes <= self.limit.bytes;
        if !fits && used.requests > 0 {
            return Entered::Full;
        }
        used.requests += 1;
        used.bytes += bytes;
        if used.requests == 1 { Entered::Alone } else { Entered::Together }
    }

    /// Waits for room for one request.
    pub(crate) async fn enter(&self, bytes: u64) -> Entered {
        match self.try_enter(bytes) {
            Entered::Full => self.wait_and_enter(bytes).await,
            entered => entered,
        }
    }

    async fn wait_and_enter(&self, bytes: u64) -> Entered {
        let _waiting = Waiting::begin(self);
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.try_enter(bytes) {
                Entered::Full => freed.await,
                entered => return entered,
            }
        }
    }

    /// Gives back the room of answered requests.
    pub(crate) fn leave(&self, requests: u64, bytes: u64) {
        let mut used = self.lock();
        used.requests -= requests;
        used.bytes -= bytes;
        if used.waiting > 0 {
            self.freed.notify_waiters();
        }
    }

    /// How many requests wait for their answer, and their bytes.
    pub(crate) fn used(&self) -> (u64, u64) {
        let used = self.lock();
        (used.requests, used.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// Nobody else waits for an answer.
    Alone,
    /// Others wait too.
    Together,
    /// There is no room.
    Full,
}

/// Someone waits for room; counted, so that nobody is woken in vain.
struct Waiting<'a>(&'a Room);

impl Waiting<'_> {
    fn begin(room: &Room) -> Waiting<'_> {
        room.lock().waiting += 1;
        Waiting(room)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}
