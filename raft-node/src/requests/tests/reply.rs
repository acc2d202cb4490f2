//! Reply batches: which client gets which answer, and when a waker is called.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::super::reply::{Answer, Answers, OpenBatch, Reply};
use super::counting_waker;

impl Answer for u32 {
    fn abandoned() -> u32 {
        u32::MAX
    }
}

fn poll(reply: &mut Reply<u32>, waker: &Waker) -> Poll<u32> {
    Pin::new(reply).poll(&mut Context::from_waker(waker))
}

fn answer_and_wake(batch: &Answers<u32>, first: usize, answers: &[u32]) -> u64 {
    let mut wakers = Vec::new();
    let bytes = batch.answer(first, answers.iter().copied(), &mut wakers);
    wakers.into_iter().for_each(Waker::wake);
    bytes
}

#[test]
fn each_client_gets_its_own_answer_in_parts() {
    let (mut open, (woken, waker)) = (OpenBatch::new(), counting_waker());
    let mut replies: Vec<_> = (0..3).map(|_| open.join(5, Some(&waker))).collect();
    replies.iter_mut().for_each(|reply| assert!(poll(reply, &waker).is_pending()));
    let batch = open.seal();
    assert_eq!(answer_and_wake(&batch, 1, &[11, 12]), 10);
    assert_eq!(woken.count(), 2);
    assert!(poll(&mut replies[0], &waker).is_pending());
    assert_eq!(poll(&mut replies[2], &waker), Poll::Ready(12));
    answer_and_wake(&batch, 0, &[10]);
    assert_eq!(poll(&mut replies[0], &waker), Poll::Ready(10));
    assert_eq!(poll(&mut replies[1], &waker), Poll::Ready(11));
}

/// What would go wrong: a future that is polled again elsewhere before its group is sealed would
/// wake the task that polled it first.
#[test]
fn a_reply_that_was_polled_before_the_seal_is_woken_at_its_new_place() {
    let (mut open, (old, before), (new, now)) =
        (OpenBatch::new(), counting_waker(), counting_waker());
    let mut reply = open.join(1, Some(&before));
    assert!(poll(&mut reply, &before).is_pending());
    assert!(poll(&mut reply, &now).is_pending());
    let batch = open.seal();
    answer_and_wake(&batch, 0, &[7]);
    assert_eq!((old.count(), new.count()), (0, 1));
    assert_eq!(poll(&mut reply, &now), Poll::Ready(7));
}

#[test]
fn a_reply_that_was_dropped_is_not_woken() {
    let (mut open, (woken, waker)) = (OpenBatch::new(), counting_waker());
    let (early, late) = (open.join(1, Some(&waker)), open.join(1, Some(&waker)));
    drop(early);
    let batch = open.seal();
    drop(late);
    answer_and_wake(&batch, 0, &[1, 2]);
    assert_eq!(woken.count(), 0);
}

/// What went wrong: the member panicked while it held a batch, and the clients waited for ever.
#[test]
fn a_batch_that_the_member_forgets_is_answered() {
    let (mut open, (woken, waker)) = (OpenBatch::new(), counting_waker());
    let mut replies: Vec<_> = (0..2).map(|_| open.join(1, Some(&waker))).collect();
    replies.iter_mut().for_each(|reply| assert!(poll(reply, &waker).is_pending()));
    let batch = open.seal();
    let other = batch.clone();
    answer_and_wake(&other, 0, &[1]);
    drop(batch);
    assert!(poll(&mut replies[1], &waker).is_pending(), "another part of the member has it");
    drop(other);
    assert_eq!(woken.count(), 2);
    assert_eq!(poll(&mut replies[0], &waker), Poll::Ready(1));
    assert_eq!(poll(&mut replies[1], &waker), Poll::Ready(u32::MAX));
}
