//! The quota: both limits, and the order of waiting requests.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::super::quota::Quota;
use super::counting_waker;

fn release(quota: &Quota, requests: u64, bytes: u64) {
    let mut wakers = Vec::new();
    quota.release(requests, bytes, &mut wakers);
    wakers.into_iter().for_each(Waker::wake);
}

type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

fn poll(future: &mut Waiting<'_>, waker: &Waker) -> Poll<()> {
    future.as_mut().poll(&mut Context::from_waker(waker))
}

#[test]
fn both_limits_hold_at_their_edges() {
    let quota = Quota::new(3, 10);
    assert!(quota.try_acquire(4) && quota.try_acquire(6));
    assert!(!quota.try_acquire(1), "the bytes are used up");
    assert!(quota.try_acquire(0));
    assert!(!quota.try_acquire(0), "three requests have entered");
    release(&quota, 1, 6);
    assert_eq!(quota.used(), (2, 4));
    assert!(!quota.try_acquire(7) && quota.try_acquire(6));
}

#[test]
fn a_request_larger_than_the_quota_enters_alone() {
    let quota = Quota::new(3, 10);
    assert!(quota.try_acquire(1));
    assert!(!quota.try_acquire(11));
    release(&quota, 1, 1);
    assert!(quota.try_acquire(11) && !quota.try_acquire(0));
    release(&quota, 1, 11);
    assert_eq!(quota.used(), (0, 0));
}

#[test]
fn limits_beyond_the_word_are_lowered_to_the_greatest() {
    let quota = Quota::new(u64::MAX, u64::MAX);
    assert!(quota.try_acquire(u64::from(u32::MAX)) && quota.try_acquire(u64::from(u32::MAX)));
    assert_eq!(quota.used(), (2, 2 * u64::from(u32::MAX)));
}

/// What went wrong: whichever request tried first after a release entered, so small ones that kept
/// coming kept a large one out for ever.
#[test]
fn a_large_request_does_not_starve_behind_small_ones() {
    let (quota, (woken, waker)) = (Quota::new(100, 10), counting_waker());
    assert!((0..10).all(|_| quota.try_acquire(1)));
    let mut large: Waiting = Box::pin(quota.acquire(10));
    assert!(poll(&mut large, &waker).is_pending());
    let mut small: Waiting = Box::pin(quota.acquire(1));
    for left in (0..10).rev() {
        assert!(!quota.try_acquire(1), "a request waits already");
        assert!(poll(&mut small, &waker).is_pending(), "it came later");
        release(&quota, 1, 1);
        assert_eq!(woken.count(), usize::from(left == 0));
    }
    assert_eq!((quota.used(), poll(&mut large, &waker)), ((1, 10), Poll::Ready(())));
    assert!(poll(&mut small, &waker).is_pending());
    release(&quota, 1, 10);
    assert_eq!((quota.used(), poll(&mut small, &waker)), ((1, 1), Poll::Ready(())));
    release(&quota, 1, 1);
    assert!(quota.try_acquire(10), "the queue is empty again");
}

/// What went wrong: each release woke every request that waited.
#[test]
fn a_release_wakes_only_the_requests_that_enter() {
    let quota = Quota::new(2, 100);
    assert!(quota.try_acquire(1) && quota.try_acquire(1));
    let (wakes, wakers): (Vec<_>, Vec<_>) = (0..50).map(|_| counting_waker()).unzip();
    let mut waiting: Vec<Waiting> =
        (0..50).map(|_| Box::pin(quota.acquire(1)) as Waiting).collect();
    for (future, waker) in waiting.iter_mut().zip(&wakers) {
        assert!(poll(future, waker).is_pending());
    }
    release(&quota, 2, 2);
    let woken: Vec<usize> = wakes.iter().map(|wake| wake.count()).collect();
    assert_eq!((woken[..2].to_vec(), woken[2..].iter().sum::<usize>()), (vec![1, 1], 0));
}

#[test]
fn a_request_that_leaves_the_queue_lets_those_behind_it_in() {
    let (quota, (woken, waker)) = (Quota::new(9, 10), counting_waker());
    assert!(quota.try_acquire(5));
    let (mut large, mut small): (Waiting, Waiting) =
        (Box::pin(quota.acquire(10)), Box::pin(quota.acquire(5)));
    assert!(poll(&mut large, &waker).is_pending() && poll(&mut small, &waker).is_pending());
    drop(large);
    assert_eq!((woken.count(), quota.used()), (1, (2, 10)));
    // It has entered, but is dropped before it notices.
    drop(small);
    assert_eq!(quota.used(), (1, 5));
    assert!(quota.try_acquire(5));
}

#[test]
fn a_closed_quota_lets_everything_in() {
    let (quota, (woken, waker)) = (Quota::new(1, 10), counting_waker());
    assert!(quota.try_acquire(1));
    let mut waiting: Waiting = Box::pin(quota.acquire(10));
    assert!(poll(&mut waiting, &waker).is_pending());
    let mut wakers = Vec::new();
    quota.close(&mut wakers);
    wakers.into_iter().for_each(Waker::wake);
    assert_eq!((woken.count(), poll(&mut waiting, &waker)), (1, Poll::Ready(())));
    assert!(quota.try_acquire(10));
    for size in [1, 10, 10] {
        release(&quota, 1, size);
    }
    assert_eq!(quota.used(), (0, 0));
}

#[test]
fn a_reopened_quota_limits_again_and_counts_what_entered_meanwhile() {
    let (quota, (_, waker)) = (Quota::new(1, 10), counting_waker());
    quota.close(&mut Vec::new());
    assert!(quota.try_acquire(10) && quota.try_acquire(10));
    quota.reopen();
    let mut waiting: Waiting = Box::pin(quota.acquire(1));
    assert!(poll(&mut waiting, &waker).is_pending());
    release(&quota, 1, 10);
    assert!(poll(&mut waiting, &waker).is_pending(), "one is still there");
    release(&quota, 1, 10);
    assert_eq!((poll(&mut waiting, &waker), quota.used()), (Poll::Ready(()), (1, 1)));
}
