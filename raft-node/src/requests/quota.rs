//! How many requests, and how many of their bytes, may wait at a member at once.
//!
//! This is where back-pressure starts: clients that are faster than the disk make nothing grow
//! without a bound. A request that does not fit waits in a queue, or is refused.
//!
//! While a member refuses every command at once, since it knows no leader, no command waits for the
//! quota: the commands that fill it may have no outcome before there is a leader again. A member
//! that has just handed over holds commands for the next leader, so the quota limits them.
//!
//! The queue is in the order of arrival. While a request waits, no later one enters, however
//! small it is, so a large command never starves behind small ones. Capacity that is given back is
//! handed to the front of the queue, one waiter after another as far as they fit; no other is
//! woken, and the wakers are returned so that the caller wakes them when it holds no lock.
//!
//! Both numbers and the flag that shows whether the queue is in use are in one atomic word:
//!
//! ```text
//!   bit 63: a request waits | bits 40 to 62: requests | bits 0 to 39: bytes
//! ```
//!
//! so that entering an uncontended quota is one atomic step. No wakeup is lost, because the word is
//! one total order of steps:
//!
//! 1. A request that finds no capacity locks the queue and sets the flag.
//! 2. Still under that lock it checks again. Capacity given back before step 1 is seen here.
//! 3. A request that gives capacity back after step 1 finds the flag set, and so locks the queue,
//!    after the waiting request has joined it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard};

/// The low bits of the word count bytes.
const BYTE_BITS: u32 = 40;
const BYTE_MASK: u64 = (1 << BYTE_BITS) - 1;

/// The flag: at least one request waits in the queue.
const IS_QUEUED: u64 = 1 << 63;

/// The most requests that fit in the word; a greater limit is lowered to this.
const MAX_REQUESTS: u64 = (1 << (63 - BYTE_BITS)) - 1;

/// The most bytes that fit in the word beside one more request of the greatest size (4 GiB).
const MAX_BYTES: u64 = BYTE_MASK - (1 << 32);

/// The quotas of a member's clients.
#[derive(Debug)]
pub(crate) struct Quotas {
    /// Commands that wait for their outcome.
    pub(crate) proposals: Quota,
    /// Reads that wait for their answer.
    pub(crate) reads: Quota,
}

/// A limit on requests and on their bytes.
#[derive(Debug)]
pub(crate) struct Quota {
    used: AtomicU64,
    max_requests: u64,
    max_bytes: u64,
    /// Whether every request enters, since the member refuses it anyway.
    is_closed: AtomicBool,
    queue: Mutex<Queue>,
}

/// Requests that wait, in the order in which they came.
#[derive(Debug, Default)]
struct Queue {
    last_ticket: u64,
    /// Tickets rise from front to back. A request that is no longer here has entered.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    size: u64,
    waker: Waker,
}

impl Quota {
    pub(crate) fn new(max_requests: u64, max_bytes: u64) -> Quota {
        Quota {
            used: AtomicU64::new(0),
            max_requests: max_requests.min(MAX_REQUESTS),
            max_bytes: max_bytes.min(MAX_BYTES),
            is_closed: AtomicBool::new(false),
            queue: Mutex::default(),
        }
    }

    /// Lets every request enter from now on, those that wait first: the member has ended, or knows
    /// no leader and expects none, and refuses them. The wakers are added to `wakers`, as for
    /// [`Quota::release`].
    pub(crate) fn close(&self, wakers: &mut Vec<Waker>) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.admit_waiting(&mut self.queue(), wakers);
    }

    /// Limits requests again: the member no longer refuses them all. What entered in the meantime
    /// counts.
    pub(crate) fn reopen(&self) {
        self.is_closed.store(false, Ordering::SeqCst);
    }

    /// Enters with a request of less than 4 GiB, unless it does not fit or another waits; returns
    /// whether it entered. A request larger than the whole quota enters when it is alone.
    pub(crate) fn try_acquire(&self, size: u64) -> bool {
        self.take(size, |used| used & IS_QUEUED == 0)
    }

    /// Enters with a request of less than 4 GiB; waits until it fits, if necessary. Dropping the
    /// future gives its place, or its capacity, to the requests behind it.
    pub(crate) async fn acquire(&self, size: u64) {
        if !self.try_acquire(size) {
            Acquire { quota: self, size, ticket: None }.await;
        }
    }

    /// Gives back the capacity of answered requests. The wakers of the requests that enter with it
    /// are added to `wakers`; the caller wakes them once it holds no lock.
    pub(crate) fn release(&self, requests: u64, bytes: u64, wakers: &mut Vec<Waker>) {
        let before = self.used.fetch_sub(pack(requests, bytes), Ordering::SeqCst);
        if before & IS_QUEUED != 0 {
            self.admit_waiting(&mut self.queue(), wakers);
        }
    }

    /// How many requests have entered and were not answered yet, and their bytes.
    pub(crate) fn used(&self) -> (u64, u64) {
        unpack(self.used.load(Ordering::Relaxed))
    }

    /// Takes capacity if the request fits and `may_enter` accepts the word.
    fn take(&self, size: u64, may_enter: impl Fn(u64) -> bool) -> bool {
        let is_closed = self.is_closed.load(Ordering::SeqCst);
        let entered = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
            let (requests, bytes) = unpack(used);
            let fits = requests < self.max_requests && bytes + size <= self.max_bytes;
            let enters = may_enter(used) && (fits || requests == 0);
            (enters || is_closed).then(|| used + pack(1, size))
        });
        entered.is_ok()
    }

    /// Lets the front of the queue enter, as far as it fits.
    fn admit_waiting(&self, queue: &mut Queue, wakers: &mut Vec<Waker>) {
        while let Some(front) = queue.waiting.front()
            && self.take(front.size, |_| true)
        {
            wakers.extend(queue.waiting.pop_front().map(|entered| entered.waker));
        }
        if queue.waiting.is_empty() {
            self.used.fetch_and(!IS_QUEUED, Ordering::SeqCst);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pack(requests: u64, bytes: u64) -> u64 {
    requests << BYTE_BITS | bytes
}

fn unpack(word: u64) -> (u64, u64) {
    ((word & !IS_QUEUED) >> BYTE_BITS, word & BYTE_MASK)
}

impl Queue {
    fn find(&mut self, ticket: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()
    }
}

/// A request that is about to enter.
struct Acquire<'a> {
    quota: &'a Quota,
    size: u64,
    /// Its place in the queue, once it has one; `None` again when it has entered.
    ticket: Option<u64>,
}

impl Future for Acquire<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut queue = this.quota.queue();
        if let Some(ticket) = this.ticket {
            if let Some(at) = queue.find(ticket) {
                queue.waiting[at].waker.clone_from(context.waker());
                return Poll::Pending;
            }
            this.ticket = None;
            return Poll::Ready(());
        }
        this.quota.used.fetch_or(IS_QUEUED, Ordering::SeqCst);
        queue.last_ticket += 1;
        let (ticket, waker) = (queue.last_ticket, context.waker().clone());
        queue.waiting.push_back(Waiting { ticket, size: this.size, waker });
        // Capacity may have been given back a moment ago, enough for requests in front, too.
        let mut wakers = Vec::new();
        this.quota.admit_waiting(&mut queue, &mut wakers);
        let has_entered = queue.find(ticket).is_none();
        drop(queue);
        if has_entered {
            // The last waker is that of this call, which continues anyway.
            wakers.pop();
        } else {
            this.ticket = Some(ticket);
        }
        wakers.into_iter().for_each(Waker::wake);
        if has_entered { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut wakers = Vec::new();
        let mut queue = self.quota.queue();
        if let Some(at) = queue.find(ticket) {
            queue.waiting.remove(at);
            // This may have been the request that did not fit.
            self.quota.admit_waiting(&mut queue, &mut wakers);
            drop(queue);
        } else {
            drop(queue);
            self.quota.release(1, self.size, &mut wakers);
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}
