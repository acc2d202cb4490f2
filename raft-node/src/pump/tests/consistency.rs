//! What reads may show that need not be linearizable.

use std::time::Duration;

use super::{Names, Rig, at, entry, id};
use crate::pump::{Effects, Event, Limits};
use crate::{Consistency, ReadError};

/// Groups of reads that were served, and up to which index.
fn served(effects: &Effects<Names>) -> Vec<(u64, u64)> {
    effects.served.iter().map(|(group, index)| (*group, index.get())).collect()
}

fn read(rig: &mut Rig, group: u64, consistency: Consistency) -> Effects<Names> {
    rig.turn(Event::Read { consistency, group })
}

fn local(ms: u64) -> Consistency {
    Consistency::Local { max_age: Duration::from_millis(ms) }
}

/// Member 3 follows member 1, which has committed entry 8, and nothing is written yet.
fn following(limits: Limits) -> Rig {
    let mut rig = Rig::new(3, limits);
    rig.append((1, 5), id(7, 4), vec![entry(8, 5)], 8);
    rig
}

#[test]
fn a_local_read_is_refused_if_what_the_member_knows_is_too_old() {
    let mut rig = Rig::new(3, Limits::default());
    let effects = read(&mut rig, 1, local(1_000_000));
    assert_eq!(effects.failed_reads, [(1, ReadError::TooOld { age: None })]);

    rig.append((1, 5), id(7, 4), vec![], 7);
    rig.ticks(3);
    assert_eq!(served(&read(&mut rig, 2, local(30))), [(2, 7)]);
    let age = Some(Duration::from_millis(30));
    let effects = read(&mut rig, 3, local(29));
    assert_eq!(effects.failed_reads, [(3, ReadError::TooOld { age })]);
}

#[test]
fn a_local_read_waits_until_what_the_leader_reported_is_applied() {
    let mut rig = following(Limits::default());
    assert_eq!(served(&read(&mut rig, 1, local(0))), [], "entry 8 is not durable here");
    let effects = rig.written();
    assert_eq!(effects.apply.map(|batch| batch.upto), Some(at(8)));
    assert_eq!(served(&rig.turn(Event::Applied { recorded: Vec::new() })), [(1, 8)]);
}

#[test]
fn a_read_of_at_least_an_index_waits_for_it_and_is_given_up_at_its_deadline() {
    let mut rig = following(Limits { read_ticks: 5, ..Limits::default() });
    let at_least = |index| Consistency::AtLeast { index: at(index) };
    assert_eq!(served(&read(&mut rig, 1, at_least(7))), [(1, 7)]);
    assert_eq!(served(&read(&mut rig, 2, at_least(8))), []);
    assert_eq!(served(&read(&mut rig, 3, at_least(9))), []);
    rig.written();
    assert_eq!(served(&rig.turn(Event::Applied { recorded: Vec::new() })), [(2, 8)]);
    assert_eq!(rig.ticks(5).failed_reads, [(3, ReadError::Timeout)]);
    assert!(rig.pump.is_idle());
}
