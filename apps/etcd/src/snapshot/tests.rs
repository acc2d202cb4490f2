//! The bytes of a state, what is refused, and that a restored machine equals the original one.

use std::io::Write;

use bytes::Bytes;
use kontiki::StateMachine;
use kontiki::types::EntryId;
use proptest::prelude::prop_assert_eq;
use proptest::proptest;

use super::*;
use crate::api::etcdserverpb::{AlarmRequest, CompactionRequest, DeleteRangeRequest, PutRequest};
use crate::command::Command;
use crate::machine::Machine;
use crate::mvcc::Span;

mod equality;

fn apply(machine: &mut Machine, command: &Command) -> Bytes {
    machine.apply_alone(&command.encode().expect("small")).expect("readable")
}

fn put(machine: &mut Machine, key: &str, value: &str) {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    apply(machine, &Command::Put(PutRequest { key, value, ..PutRequest::default() }));
}

fn delete(machine: &mut Machine, key: &str, end: &str) {
    let (key, range_end) = (key.to_owned().into(), end.to_owned().into());
    apply(machine, &Command::Delete(DeleteRangeRequest { key, range_end, prev_kv: false }));
}

fn compact(machine: &mut Machine, revision: i64) {
    apply(machine, &Command::Compact(CompactionRequest { revision, physical: false }));
}

fn bytes_of(machine: &mut Machine) -> Vec<u8> {
    let mut bytes = Vec::new();
    machine.snapshot().expect("idle").write_to(&mut bytes).expect("it fits");
    bytes
}

fn restored(mut bytes: &[u8]) -> Result<Machine, String> {
    let mut machine = Machine::new();
    match machine.restore(EntryId::ZERO, &mut bytes) {
        Ok(()) => Ok(machine),
        Err(fatal) => Err(fatal.to_string()),
    }
}

/// An alarm, two keys of which one was deleted and created again, and discarded history.
fn sample() -> Machine {
    let mut machine = Machine::new();
    put(&mut machine, "a", "0");
    put(&mut machine, "a", "1");
    put(&mut machine, "b", "22");
    delete(&mut machine, "a", "");
    put(&mut machine, "a", "");
    put(&mut machine, "gone", "x");
    compact(&mut machine, 3);
    delete(&mut machine, "b", "c");
    let (member_id, alarm) = (7, 1);
    apply(&mut machine, &Command::Alarm(AlarmRequest { action: 1, member_id, alarm }));
    machine
}

/// A number of 8 bytes; those of the sample are small.
const fn number(small: u8) -> [u8; 8] {
    [small, 0, 0, 0, 0, 0, 0, 0]
}

/// The sample in the bytes of the specification, in parts.
fn frozen() -> Vec<Vec<u8>> {
    let version = |kind: u8, numbers: &[u8]| {
        let mut bytes = vec![kind];
        bytes.extend(numbers.iter().flat_map(|small| number(*small)));
        bytes
    };
    vec![
        b"KTKETCDS\x01\x00\x00\x00".to_vec(),
        [number(8), number(3)].concat(),
        b"\x01\x07\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00".to_vec(),
        b"\x02\x01\x00\x00\x00a".to_vec(),
        [version(3, &[3, 0, 2, 2, 0]), b"\x01\x00\x00\x001".to_vec()].concat(),
        version(4, &[5, 0]),
        [version(3, &[6, 0, 6, 1, 0]), b"\x00\x00\x00\x00".to_vec()].concat(),
        b"\x02\x01\x00\x00\x00b".to_vec(),
        [version(3, &[4, 0, 4, 1, 0]), b"\x02\x00\x00\x0022".to_vec()].concat(),
        version(4, &[8, 0]),
        b"\x02\x04\x00\x00\x00gone".to_vec(),
        [version(3, &[7, 0, 7, 1, 0]), b"\x01\x00\x00\x00x".to_vec()].concat(),
        version(0, &[1, 3, 6]),
    ]
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let frozen = frozen().concat();
    assert_eq!(bytes_of(&mut sample()), frozen);
    let mut machine = restored(&frozen).expect("sound");
    assert_eq!(bytes_of(&mut machine), frozen);
    assert!(machine.store().now().alarms().is_full());
}

#[test]
fn a_state_without_anything_is_restored_as_one() {
    let bytes = bytes_of(&mut Machine::new());
    assert_eq!(bytes_of(&mut restored(&bytes).expect("sound")), bytes);
    assert_eq!(bytes.len(), 8 + 4 + 2 * 8 + 1 + 3 * 8);
}

/// The state replaces what was there before.
#[test]
fn a_restore_leaves_nothing_of_the_former_state() {
    let mut machine = sample();
    let empty = bytes_of(&mut Machine::new());
    machine.restore(EntryId::ZERO, &mut &empty[..]).expect("sound");
    assert_eq!(bytes_of(&mut machine), empty);
}

#[test]
fn a_newer_state_is_refused_by_name_and_changes_nothing() {
    let with = |at: usize, part: &[u8]| {
        let mut parts = frozen();
        parts[at] = part.to_vec();
        parts.concat()
    };
    let newer = [
        (with(0, b"KTKETCDS\x02\x00\x00\x00"), "has version 2"),
        (with(2, b"\x05lease"), "a record of kind 5"),
        (with(0, b"KTKETCDX\x01\x00\x00\x00"), "not the state of an etcd server"),
    ];
    for (bytes, expected) in newer {
        let mut machine = sample();
        let before = bytes_of(&mut machine);
        let refused = machine.restore(EntryId::ZERO, &mut &bytes[..]).expect_err("refused");
        assert!(refused.to_string().contains(expected), "{refused}");
        assert_eq!(bytes_of(&mut machine), before);
    }
}

#[test]
fn bytes_that_are_no_state_are_refused() {
    let without = |at: std::ops::Range<usize>| {
        let mut parts = frozen();
        parts.drain(at);
        parts.concat()
    };
    let with = |at: usize, part: Vec<u8>| {
        let mut parts = frozen();
        parts[at] = part;
        parts.concat()
    };
    let version = |kind: u8, numbers: &[i64]| {
        let mut bytes = vec![kind];
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        [bytes, b"\x00\x00\x00\x00".to_vec()].concat()
    };
    let long = [b"\x02".to_vec(), (17_u32 << 20).to_le_bytes().to_vec()].concat();
    let wrong = [
        (with(1, [number(0), number(0)].concat()), "revisions are out of range"),
        (with(1, [number(8), number(9)].concat()), "revisions are out of range"),
        (with(1, [number(8), [0xf0; 8]].concat()), "revisions are out of range"),
        (with(3, frozen()[2].clone()), "an alarm is raised twice"),
        (without(3..4), "belongs to no key"),
        (with(3, long), "too long"),
        (with(10, b"\x02\x01\x00\x00\x00b".to_vec()), "keys are not in order"),
        (without(8..10), "a key has no version"),
        (without(8..9), "begins with a deletion"),
        (with(6, frozen()[5].clone()), "not in order"),
        (with(6, [&[4], &number(6)[..], &number(0)].concat()), "deleted twice"),
        (with(5, version(3, &[3, 1, 3, 1, 0])), "was compacted"),
        (with(6, version(3, &[9, 0, 6, 1, 0])), "out of range"),
        (with(6, version(3, &[6, -1, 6, 1, 0])), "out of range"),
        (with(6, version(3, &[6, 0, 7, 1, 0])), "out of range"),
        (with(6, version(3, &[6, 0, 6, i64::MAX, 0])), "out of range"),
        (with(2, Vec::new()), "not as many"),
        (with(12, Vec::new()), "ends too early"),
        ([frozen().concat(), vec![0]].concat(), "something follows"),
    ];
    for (bytes, expected) in wrong {
        let refused = restored(&bytes).err().unwrap_or_default();
        assert!(refused.contains(expected), "{expected}: {refused:?}");
    }
    let whole = frozen().concat();
    for length in 0..whole.len() {
        let refused = restored(&whole[..length]).err().unwrap_or_default();
        assert!(refused.contains("ends too early"), "{length} bytes: {refused:?}");
    }
}

proptest! {
    #[test]
    fn any_change_of_the_bytes_is_refused_or_restored_exactly(at: usize, to: u8) {
        let mut bytes = frozen().concat();
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(mut machine) = restored(&bytes) {
            prop_assert_eq!(bytes_of(&mut machine), bytes);
        }
    }
}

/// Applies further commands between two writes of a snapshot.
struct Beside<'m> {
    machine: &'m mut Machine,
    bytes: Vec<u8>,
}

impl Write for Beside<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        let count = self.bytes.len();
        put(self.machine, "a", "new");
        put(self.machine, &format!("b{count}"), "new");
        delete(self.machine, "a", "c");
        let revision = self.machine.store().now().read().revision();
        compact(self.machine, revision);
        self.machine.store().now().write().store.sweep(usize::MAX);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn changes_and_compactions_during_the_writing_are_not_in_the_snapshot() {
    let mut machine = sample();
    let expected = bytes_of(&mut machine);
    let view = PinnedState { step_versions: 1, ..PinnedState::of(machine.store().now()) };
    let mut out = Beside { machine: &mut machine, bytes: Vec::new() };
    Box::new(view).write_to(&mut out).expect("written");
    assert_eq!(out.bytes, expected);
    // What the pin kept is freed afterwards.
    machine.store().now().write().store.sweep(usize::MAX);
    assert_eq!(bytes_of(&mut machine), bytes_of(&mut restored(&bytes_of(&mut machine)).expect("")));
    let now = machine.store().now();
    assert_eq!(now.read().view().examined(Span::From(b"a"), usize::MAX), 1);
}

#[test]
fn no_snapshot_is_taken_in_the_middle_of_a_command() {
    let mut machine = Machine::new();
    for key in 0..3000 {
        put(&mut machine, &format!("{key:04}"), "");
    }
    let command = Command::Delete(DeleteRangeRequest {
        key: "0".into(),
        range_end: "9".into(),
        prev_kv: false,
    });
    let id = EntryId::ZERO;
    let batch = [kontiki::Committed { id, command: command.encode().expect("small") }];
    let mut replies = kontiki::Replies::default();
    machine.apply(&batch, &mut replies).expect("readable");
    assert!(machine.is_unfinished() && machine.snapshot().is_err());
    while machine.is_unfinished() {
        machine.apply(&batch, &mut replies).expect("readable");
    }
    assert!(machine.snapshot().is_ok());
}
