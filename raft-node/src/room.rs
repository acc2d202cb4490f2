//! Room for requests: how many may wait at a member at once, and with how many bytes.
//!
//! This is where back-pressure begins. Who finds no room waits for it, or is told so; nothing grows
//! without a bound because clients are faster than the disk. Both numbers stand in one word, so
//! that taking room is one step of the processor, and never a step back.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The low bits of the word count bytes, the others requests.
const BYTE_BITS: u32 = 40;
const BYTE_MASK: u64 = (1 << BYTE_BITS) - 1;

/// The most requests that fit in the word; a greater limit is taken as this.
const MOST_REQUESTS: u64 = (1 << (u64::BITS - BYTE_BITS)) - 1;

/// The most bytes that fit in the word beside one more request of the greatest size (4 GiB).
const MOST_BYTES: u64 = BYTE_MASK - (1 << 32);

/// A bound on requests and on their bytes.
#[derive(Debug)]
pub(crate) struct Room {
    used: AtomicU64,
    requests: u64,
    bytes: u64,
    /// How many wait for room, so that nobody is woken in vain.
    waiting: AtomicUsize,
    freed: Notify,
}

impl Room {
    pub(crate) fn new(requests: u64, bytes: u64) -> Room {
        Room {
            used: AtomicU64::new(0),
            requests: requests.min(MOST_REQUESTS),
            bytes: bytes.min(MOST_BYTES),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// Takes room for one request of less than 4 GiB, if there is any. A request larger than all
    /// the room gets it when it is alone.
    pub(crate) fn try_enter(&self, size: u64) -> bool {
        let entered = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
            let (requests, bytes) = unpack(used);
            let fits = requests < self.requests && bytes + size <= self.bytes;
            (fits || requests == 0).then(|| used + pack(1, size))
        });
        entered.is_ok()
    }

    /// Waits for room for one request.
    pub(crate) async fn enter(&self, size: u64) {
        if !self.try_enter(size) {
            self.wait_and_enter(size).await;
        }
    }

    async fn wait_and_enter(&self, size: u64) {
        let _waiting = Waiting::begin(self);
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.try_enter(size) {
                return;
            }
            freed.await;
        }
    }

    /// Gives back the room of answered requests.
    pub(crate) fn leave(&self, requests: u64, bytes: u64) {
        self.used.fetch_sub(pack(requests, bytes), Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_waiters();
        }
    }

    /// How many requests wait for their answer, and their bytes.
    pub(crate) fn used(&self) -> (u64, u64) {
        unpack(self.used.load(Ordering::Relaxed))
    }
}

fn pack(requests: u64, bytes: u64) -> u64 {
    requests << BYTE_BITS | bytes
}

fn unpack(word: u64) -> (u64, u64) {
    (word >> BYTE_BITS, word & BYTE_MASK)
}

/// Someone waits for room. Counted before it looks, so that who leaves later sees it (both are in
/// the one order of sequentially consistent steps).
struct Waiting<'a>(&'a Room);

impl Waiting<'_> {
    fn begin(room: &Room) -> Waiting<'_> {
        room.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(room)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_at_their_edges() {
        let room = Room::new(3, 10);
        assert!(room.try_enter(4) && room.try_enter(6));
        assert!(!room.try_enter(1), "the bytes are used up");
        assert!(room.try_enter(0));
        assert!(!room.try_enter(0), "three requests are in");
        room.leave(1, 6);
        assert_eq!(room.used(), (2, 4));
        assert!(!room.try_enter(7) && room.try_enter(6));
    }

    #[test]
    fn a_request_larger_than_the_room_enters_alone() {
        let room = Room::new(3, 10);
        assert!(room.try_enter(1));
        assert!(!room.try_enter(11));
        room.leave(1, 1);
        assert!(room.try_enter(11) && !room.try_enter(0));
        room.leave(1, 11);
        assert_eq!(room.used(), (0, 0));
    }

    #[test]
    fn limits_beyond_the_word_are_taken_as_the_greatest() {
        let room = Room::new(u64::MAX, u64::MAX);
        assert!(room.try_enter(u64::from(u32::MAX)) && room.try_enter(u64::from(u32::MAX)));
        assert_eq!(room.used(), (2, 2 * u64::from(u32::MAX)));
    }
}
