//! Entries that are read from the store: how far, and what a failed read leads to.

use raft_core::consensus::{Body, Round, Start, Verdict};
use raft_core::storage::{LogError, LogErrorKind, LogOp};

use super::{Names, Rig, at, entry, id};
use crate::pump::{Effects, Event, FetchId, Limits, StopReason};
use crate::{Consistency, ReadError};

/// A leader that keeps no written entry in memory.
fn leader() -> Rig {
    Rig::leading(3, Limits { tail_bytes: 0, read_attempts: 3, ..Limits::default() })
}

/// What went wrong: the store was asked for the whole append, to entries that it was still writing,
/// and answered that it did not have them. While its disk was busy, a leader could not bring a
/// member that was a little behind up to date.
#[test]
fn a_leader_asks_its_store_only_for_what_it_has_written() {
    let mut rig = leader();
    rig.propose(1, 2);
    rig.written();
    rig.propose(2, 2);
    assert_eq!(rig.last(), 12, "8 is written, 9 and 10 are at the disk, 11 and 12 wait");
    let verdict = Verdict::Conflict { refused: at(7), hint: id(5, 4) };
    let effects = rig.message(1, 5, Body::AppendResponse { verdict, round: Round(0) });
    let [fetch] = effects.fetches[..] else { panic!("{:?}", effects.fetches) };
    assert_eq!((fetch.first, fetch.last), (at(6), at(8)));
    let entries = (6..=8).map(|index| entry(index, if index < 8 { 4 } else { 5 })).collect();
    let effects = rig.turn(Event::Fetched { fetch: fetch.id, result: Ok(entries) });
    assert_eq!(effects.sends.len(), 1, "they go out");
}

/// After entries are named and before they are read, the log may be rewritten after the first of
/// them.
#[test]
fn entries_of_which_the_last_is_another_are_not_sent() {
    let mut rig = leader();
    rig.written();
    let verdict = Verdict::Conflict { refused: at(7), hint: id(5, 4) };
    let effects = rig.message(1, 5, Body::AppendResponse { verdict, round: Round(0) });
    let fetch = fetches(&effects).pop().expect("a cold read");
    let result = Ok(vec![entry(6, 4), entry(7, 4), entry(8, 4)]);
    let effects = rig.turn(Event::Fetched { fetch, result });
    assert!(effects.sends.is_empty() && effects.stop.is_none(), "8@4 is not 8@5");
}

/// The log was truncated between the question and the answer.
#[test]
fn entries_that_the_store_no_longer_has_do_not_stop_the_member() {
    let mut rig = leader();
    rig.written();
    let verdict = Verdict::Conflict { refused: at(7), hint: id(5, 4) };
    let effects = rig.message(1, 5, Body::AppendResponse { verdict, round: Round(0) });
    let fetch = fetches(&effects).pop().expect("a cold read");
    let effects = rig.turn(failed(fetch, LogErrorKind::Unavailable { last: at(5) }));
    assert!(effects.sends.is_empty() && effects.stop.is_none());
}

#[test]
fn a_read_without_an_answer_is_given_up_at_its_deadline() {
    let mut rig = Rig::new(3, Limits { read_ticks: 5, ..Limits::default() });
    rig.append((1, 5), id(7, 4), vec![], 7);
    rig.turn(Event::Read { consistency: Consistency::Linearizable, group: 1 });
    assert!(rig.ticks(4).failed_reads.is_empty());
    assert_eq!(rig.ticks(1).failed_reads, [(1, ReadError::Timeout)]);
}

/// What went wrong: the core's outputs after a completed send waited for the next event, up to a
/// tick.
#[test]
fn the_entries_after_a_send_from_the_store_are_read_at_once() {
    let mut rig = Rig::leading(3, Limits { tail_bytes: 0, append_bytes: 4, ..Limits::default() });
    rig.written();
    let verdict = Verdict::Conflict { refused: at(7), hint: id(4, 4) };
    let effects = rig.message(1, 5, Body::AppendResponse { verdict, round: Round(0) });
    let [first] = effects.fetches[..] else { panic!("{:?}", effects.fetches) };
    assert_eq!(first.first, at(5));
    let effects = rig.turn(Event::Fetched { fetch: first.id, result: Ok(vec![entry(5, 4)]) });
    assert_eq!(effects.sends.len(), 1);
    // The peer has it, and is sent all that follows without waiting.
    let verdict = Verdict::Accepted { matched: at(5) };
    let effects = rig.message(1, 5, Body::AppendResponse { verdict, round: Round(0) });
    let [second] = effects.fetches[..] else { panic!("{:?}", effects.fetches) };
    assert_eq!(second.first, at(6));
    let effects = rig.turn(Event::Fetched { fetch: second.id, result: Ok(vec![entry(6, 4)]) });
    let next = effects.fetches.first().map(|fetch| fetch.first);
    assert_eq!((effects.sends.len(), next), (1, Some(at(7))), "in the same turn");
}

/// What went wrong: the tail counted the replaced entry as written, and evicted the new one, which
/// the store did not have yet.
#[test]
fn an_entry_that_replaces_a_written_one_stays_in_memory_until_it_is_written() {
    let mut rig = Rig::new(5, Limits { tail_bytes: 0, ..Limits::default() });
    rig.append((1, 5), id(7, 4), vec![entry(8, 5)], 7);
    rig.written();
    rig.append((2, 6), id(7, 4), vec![entry(8, 6)], 7);
    assert_eq!(rig.pump.tail_bytes(), 4);
}

fn failed(fetch: FetchId, kind: LogErrorKind) -> Event<Names> {
    Event::Fetched { fetch, result: Err(LogError::new(LogOp::Read, kind)) }
}

/// A member that starts and must read entry 7, which it has not applied; returns the member and its
/// question.
fn reading_to_apply() -> (Rig, FetchId) {
    let start = Start { applied: at(6), ..Rig::start(3) };
    let mut rig = Rig::starting_from(start, Limits { read_attempts: 3, ..Limits::default() });
    let fetch = fetches(&rig.ticks(1)).pop().expect("nothing is in memory");
    (rig, fetch)
}

fn fetches(effects: &Effects<Names>) -> Vec<FetchId> {
    effects.fetches.iter().map(|fetch| fetch.id).collect()
}

/// What went wrong: one failed read ended the member, though the next would have succeeded.
#[test]
fn a_read_that_fails_is_tried_again_after_a_pause() {
    let (mut rig, fetch) = reading_to_apply();
    let effects = rig.turn(failed(fetch, LogErrorKind::Io));
    assert!(effects.stop.is_none() && effects.fetches.is_empty(), "not at once");
    let second = fetches(&rig.ticks(1)).pop().expect("after one tick");
    rig.turn(failed(second, LogErrorKind::Io));
    assert!(fetches(&rig.ticks(1)).is_empty(), "the pause doubles");
    let third = fetches(&rig.ticks(1)).pop().expect("after two ticks");
    let effects = rig.turn(Event::Fetched { fetch: third, result: Ok(vec![entry(7, 4)]) });
    assert_eq!(effects.apply.map(|batch| batch.upto), Some(at(7)));
    assert_eq!(rig.pump.counters().failed_fetches, 2);
}

#[test]
fn reads_that_fail_again_and_again_stop_the_member() {
    let (mut rig, mut fetch) = reading_to_apply();
    for _ in 0..2 {
        assert!(rig.turn(failed(fetch, LogErrorKind::Io)).stop.is_none());
        fetch = (0..3).find_map(|_| fetches(&rig.ticks(1)).pop()).expect("again");
    }
    let effects = rig.turn(failed(fetch, LogErrorKind::Io));
    assert!(matches!(effects.stop, Some(StopReason::Store(error)) if error.op == LogOp::Read));
}

#[test]
fn damage_stops_the_member_at_once() {
    let (mut rig, fetch) = reading_to_apply();
    let effects = rig.turn(failed(fetch, LogErrorKind::Corrupt { index: Some(at(7)) }));
    assert!(effects.stop.is_some_and(|reason| reason.is_damage()));
}

#[test]
fn a_read_for_a_leadership_that_is_over_is_not_tried_again() {
    let mut rig = leader();
    rig.written();
    let verdict = Verdict::Conflict { refused: at(7), hint: id(5, 4) };
    let effects = rig.message(1, 5, Body::AppendResponse { verdict, round: Round(0) });
    let fetch = fetches(&effects).pop().expect("a cold read");
    rig.turn(failed(fetch, LogErrorKind::Io));
    rig.append((2, 6), id(7, 4), vec![], 7);
    assert!(fetches(&rig.ticks(5)).is_empty());
}

#[cfg(feature = "mutants")]
#[test]
fn the_scenario_sees_a_leader_that_asks_for_too_much() {
    let mut rig = leader();
    rig.pump.plant(crate::pump::PumpBug::UnwrittenFetched);
    rig.propose(1, 2);
    let verdict = Verdict::Conflict { refused: at(7), hint: id(5, 4) };
    let effects = rig.message(1, 5, Body::AppendResponse { verdict, round: Round(0) });
    assert!(effects.fetches[0].last > at(7));
}
