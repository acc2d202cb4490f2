//! Large answers: read in steps beside changes, encoded once, sent in chunks, bounded in bytes.

use std::pin::pin;

use bytes::BytesMut;
use http_body::Body;
use kontiki::StateMachine;
use kontiki::types::EntryId;
use tokio::time::Instant;

use super::*;
use crate::api::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, RangeRequest, RangeResponse,
};
use crate::api::mvccpb::KeyValue;
use crate::command::Command;
use crate::machine::Machine;

/// A state machine with `keys` keys, each with a value of `length` bytes.
fn filled(keys: usize, length: usize) -> Machine {
    let mut machine = Machine::new();
    for key in 0..keys {
        put(&mut machine, key, &vec![b'v'; length]);
    }
    machine
}

fn put(machine: &mut Machine, key: usize, value: &[u8]) {
    let (key, value) = (format!("{key:06}").into(), value.to_vec().into());
    let command = Command::Put(PutRequest { key, value, ..PutRequest::default() });
    machine.apply_alone(&command.encode().expect("small")).expect("it is readable");
}

fn everything() -> RangeRequest {
    let (key, range_end) = (Bytes::from_static(&[0]), Bytes::from_static(&[0]));
    RangeRequest { key, range_end, ..RangeRequest::default() }
}

fn begin(store: &SharedStore) -> Result<(Reading, Pinned), Refusal> {
    let now = store.now();
    let store = now.read();
    let reading = Reading::begin(store.view(), everything())?;
    let pinned = now.pinned(store.pin(reading.pinned()));
    Ok((reading, pinned))
}

async fn read(answers: &Answers, store: &SharedStore) -> Result<Read<RangeResponse>, Refusal> {
    let (reading, pinned) = begin(store)?;
    let read = answers.read(vec![reading], pinned).await?;
    Ok(read.map(|mut read| read.remove(0).finish()))
}

async fn sent(body: impl Body<Data = Bytes, Error: std::fmt::Debug>) -> (Bytes, usize, bool) {
    let mut body = pin!(body);
    let (mut bytes, mut chunks, mut has_status) = (BytesMut::new(), 0, false);
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
    {
        match frame.expect("nothing fails").into_data() {
            Ok(data) => {
                chunks += 1;
                bytes.extend_from_slice(&data);
            }
            Err(frame) => {
                has_status = frame.trailers_ref().is_some_and(|map| map.contains_key("grpc-status"))
            }
        }
    }
    (bytes.freeze(), chunks, has_status)
}

#[tokio::test]
async fn a_large_answer_arrives_whole_in_chunks_behind_its_framing() {
    let machine = filled(5000, 100);
    let answers = Answers::new(machine.store(), 0);
    let response = read(&answers, &machine.store()).await.expect("it fits");
    let expected = response.read.clone();
    let mut response = answers.respond(response).await.expect("it fits");
    assert_eq!(*response.get_ref(), RangeResponse::default());
    let large = response.extensions_mut().remove::<Large>().expect("it is large");
    let (bytes, chunks, has_status) = sent(large.into_body()).await;
    assert!(chunks > 5 && has_status, "{chunks} chunks, a status: {has_status}");
    assert_eq!(bytes[0], 0);
    assert_eq!(
        u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize,
        bytes.len() - 5
    );
    assert_eq!(RangeResponse::decode(bytes.slice(5..)), Ok(expected));
}

#[tokio::test]
async fn a_range_that_is_read_on_another_thread_sees_one_revision() {
    let mut machine = filled(20_000, 10);
    let (answers, store) = (Answers::new(machine.store(), 0), machine.store());
    let reading = read(&answers, &store);
    let mut reading = pin!(reading);
    // It has started, and moves to the other thread.
    let begun = std::future::poll_fn(|context| {
        std::task::Poll::Ready(reading.as_mut().poll(context).is_pending())
    });
    assert!(begun.await, "the range did not move to another thread");
    for key in (0..20_000).step_by(7) {
        put(&mut machine, key, b"later");
    }
    let read = reading.await.expect("it fits").read;
    assert_eq!(read.count, 20_000);
    assert!(read.kvs.iter().all(|pair| pair.value.len() == 10));
}

/// Restores a machine from the snapshot of another one, which has a single key.
fn restore_another(machine: &mut Machine) {
    let mut other = Vec::new();
    filled(1, 1).snapshot().expect("idle").write_to(&mut other).expect("it fits");
    machine.restore(EntryId::ZERO, &mut &other[..]).expect("sound");
    assert_eq!(machine.store().now().read().revision(), 2);
}

#[tokio::test]
async fn a_range_in_progress_sees_its_revision_when_a_snapshot_is_restored() {
    let mut machine = filled(20_000, 10);
    let (answers, store) = (Answers::new(machine.store(), 0), machine.store());
    let (mut reading, pinned) = begin(&store).expect("readable");
    assert!(!reading.step(&store.now().read(), 100, usize::MAX).expect("it fits"));
    restore_another(&mut machine);
    let read = answers.read(vec![reading], pinned).await.expect("it fits").read.remove(0);
    assert_eq!(read.finish().count, 20_000);
    // The former state is freed when nothing reads it any more.
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.generation(0).is_some() {
        assert!(Instant::now() < deadline, "the former state is still in memory");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_ranges_of_a_command_are_read_from_its_state_when_a_snapshot_is_restored() {
    let mut machine = filled(3000, 10);
    let answers = Answers::new(machine.store(), 0);
    let (key, range_end) = (Bytes::from_static(&[0]), Bytes::from_static(&[0]));
    let deletion = Command::Delete(DeleteRangeRequest { key, range_end, prev_kv: true });
    let answer = machine.apply_alone(&deletion.encode().expect("small")).expect("readable");
    restore_another(&mut machine);
    let read = answers.complete::<DeleteRangeResponse>(answer).await.expect("it fits").read;
    assert_eq!((read.deleted, read.prev_kvs.len()), (3000, 3000));
}

#[tokio::test]
async fn a_turn_is_given_back_with_the_answer() {
    let machine = filled(5000, 100);
    let answers = Answers::new(machine.store(), 0);
    for _ in 0..3 {
        let response = read(&answers, &machine.store()).await.expect("it fits");
        answers.respond(response).await.expect("it fits");
        assert_eq!(answers.turn.available_permits(), 1);
        assert_eq!(answers.bytes.free(), 2 * MAX_ANSWER_BYTES);
    }
}

/// What went wrong: an answer that waited for bytes that other clients had not read yet held the
/// turn meanwhile, so one slow reader could delay all other large answers for half a minute.
#[tokio::test]
async fn an_answer_that_waits_for_bytes_holds_up_no_other() {
    let machine = filled(5000, 1000);
    let answers = Answers::new(machine.store(), 0);
    let slow = answers.bytes.take(2 * MAX_ANSWER_BYTES - (1 << 20)).await;
    let answer = |kvs: usize| {
        let value = Bytes::from(vec![b'v'; 1000]);
        let pair = KeyValue { value, ..KeyValue::default() };
        Read::small(RangeResponse { kvs: vec![pair; kvs], ..RangeResponse::default() })
    };
    let is_waiting = async |future: std::pin::Pin<&mut dyn Future<Output = bool>>| {
        let mut future = future;
        let poll = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_pending())
        });
        poll.await
    };
    // One that is read at once, and one that takes many steps.
    let too_large = async { answers.respond(answer(5000)).await.is_ok() };
    let of_many_steps = async {
        let read = read(&answers, &machine.store()).await;
        answers.respond(read.expect("it fits")).await.is_ok()
    };
    let (mut too_large, mut of_many_steps) = (pin!(too_large), pin!(of_many_steps));
    assert!(is_waiting(too_large.as_mut()).await && is_waiting(of_many_steps.as_mut()).await);
    let fits = answers.respond(answer(100)).await.expect("there is room for it");
    assert!(fits.extensions().get::<Large>().is_some());
    drop((slow, fits));
    assert!(too_large.await && of_many_steps.await);
    assert_eq!(answers.bytes.free(), 2 * MAX_ANSWER_BYTES);
}

#[test]
fn a_command_that_cannot_be_read_is_never_answered_and_skipped() {
    let mut machine = Machine::new();
    let newer = machine.apply_alone(&Bytes::from_static(&[1, 99]));
    let why = newer.expect_err("it was applied").to_string();
    assert!(why.contains("kind 99") && why.contains("too old"), "{why}");
}
