//! Any history of commands, with a snapshot at any point that is restored into another machine: the
//! other machine answers as the original does, before and after any further commands.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof};
use proptest::proptest;

use super::*;
use crate::answer::{DEFERRED, read_at_once};
use crate::api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::api::etcdserverpb::request_op::Request;
use crate::api::etcdserverpb::{Compare, RangeRequest, RangeResponse, RequestOp, TxnRequest};
use crate::errors::Refusal;
use crate::range;

fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just("a"), Just("a\0"), Just("aa"), Just("b"), Just("c"), Just("\0")]
        .prop_map(|key| Bytes::from_static(key.as_bytes()))
}

fn end() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just(Bytes::new()), Just(Bytes::from_static(b"\0")), key()]
}

fn put() -> impl Strategy<Value = PutRequest> {
    let value = vec(any::<u8>(), 0..3).prop_map(Bytes::from);
    (key(), value, any::<bool>(), any::<bool>()).prop_map(|(key, value, prev_kv, ignore)| {
        let ignore_value = ignore && value.is_empty();
        PutRequest { key, value, prev_kv, ignore_value, ..PutRequest::default() }
    })
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    let request = |(key, range_end, prev_kv)| DeleteRangeRequest { key, range_end, prev_kv };
    (key(), end(), any::<bool>()).prop_map(request)
}

fn operation() -> impl Strategy<Value = RequestOp> {
    let range = |(key, range_end)| RangeRequest { key, range_end, ..RangeRequest::default() };
    let request = prop_oneof![
        3 => put().prop_map(Request::RequestPut),
        1 => delete().prop_map(Request::RequestDeleteRange),
        1 => (key(), end()).prop_map(range).prop_map(Request::RequestRange),
    ];
    request.prop_map(|request| RequestOp { request: Some(request) })
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let compare = (key(), 0..4_i64).prop_map(|(key, version)| Compare {
        key,
        result: CompareResult::Greater as i32,
        target: CompareTarget::Version as i32,
        target_union: Some(TargetUnion::Version(version)),
        ..Compare::default()
    });
    (vec(compare, 0..2), vec(operation(), 0..4), vec(operation(), 0..3))
        .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
}

#[derive(Clone, Debug)]
enum Step {
    Command(Command),
    /// Compacts this many revisions before the newest (after it, if negative).
    Compact(i64),
    /// Frees some of what compactions discarded. No answer depends on it.
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let alarm = (0..3_i32, 1..3_u64);
    let alarm = alarm.prop_map(|(action, member_id)| AlarmRequest { action, member_id, alarm: 1 });
    prop_oneof![
        12 => put().prop_map(|request| Step::Command(Command::Put(request))),
        3 => delete().prop_map(|request| Step::Command(Command::Delete(request))),
        6 => txn().prop_map(|request| Step::Command(Command::Txn(request))),
        1 => alarm.prop_map(|request| Step::Command(Command::Alarm(request))),
        2 => (-1..9_i64).prop_map(Step::Compact),
        1 => Just(Step::Sweep),
    ]
}

/// The machine's answer, and the ranges that it deferred.
type Taken = (Bytes, Vec<RangeResponse>);

fn take(machine: &mut Machine, step: &Step) -> Taken {
    let command = match step {
        Step::Sweep => {
            machine.store().now().write().store.sweep(3);
            return Taken::default();
        }
        Step::Compact(back) => {
            let revision = machine.store().now().read().revision() - back;
            Command::Compact(CompactionRequest { revision, physical: false })
        }
        Step::Command(command) => command.clone(),
    };
    let answer = apply(machine, &command);
    if answer.first() == Some(&DEFERRED) {
        read_at_once(&machine.store(), &answer)
    } else {
        (answer, Vec::new())
    }
}

/// What each revision sees, or why it cannot be read.
fn all_reads(machine: &Machine) -> Vec<Result<RangeResponse, Refusal>> {
    let now = machine.store().now();
    let store = now.read();
    let read = |revision| {
        let (key, range_end) = (Bytes::from_static(&[0]), Bytes::from_static(&[0]));
        let request = RangeRequest { key, range_end, revision, ..RangeRequest::default() };
        range::range(store.view(), request)
    };
    (-1..store.revision() + 2).map(read).collect()
}

/// Takes further steps while a snapshot is written, one for each write.
struct Meanwhile<'m> {
    machine: &'m mut Machine,
    steps: std::slice::Iter<'m, Step>,
    bytes: Vec<u8>,
}

impl Write for Meanwhile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        if let Some(step) = self.steps.next() {
            take(self.machine, step);
            swept_size(self.machine);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The size of the key space once everything is freed that can be.
fn swept_size(machine: &Machine) -> u64 {
    let now = machine.store().now();
    let store = &mut now.write().store;
    store.sweep(usize::MAX);
    store.size()
}

proptest! {
    #[test]
    fn a_restored_machine_answers_as_the_original_does(
        before in vec(step(), 0..40),
        meanwhile in vec(step(), 0..12),
        after in vec(step(), 0..20),
        step_versions in 1..5_usize,
    ) {
        let mut original = Machine::new();
        before.iter().for_each(|step| drop(take(&mut original, step)));
        let reads = all_reads(&original);
        let view = PinnedState { step_versions, ..PinnedState::of(original.store().now()) };
        let steps = meanwhile.iter();
        let mut out = Meanwhile { machine: &mut original, steps, bytes: Vec::new() };
        Box::new(view).write_to(&mut out).expect("it fits");
        let (bytes, taken) = (out.bytes, meanwhile.len() - out.steps.len());

        let mut other = restored(&bytes).expect("sound");
        prop_assert_eq!(all_reads(&other), reads);
        prop_assert_eq!(bytes_of(&mut other), bytes);
        meanwhile[..taken].iter().for_each(|step| drop(take(&mut other, step)));
        for step in &after {
            prop_assert_eq!(take(&mut other, step), take(&mut original, step), "{:?}", step);
        }
        prop_assert_eq!(all_reads(&other), all_reads(&original));
        prop_assert_eq!(bytes_of(&mut other), bytes_of(&mut original));
        prop_assert_eq!(swept_size(&other), swept_size(&original));
    }
}
