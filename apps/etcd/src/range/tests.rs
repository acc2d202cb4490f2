//! Tests of ranges alone: which keys are kept while they are read, and which are in the answer.

use bytes::Bytes;

use super::*;
use crate::api::etcdserverpb::range_request::SortTarget;

/// A store with `keys` keys; the value of key `k` is `k` modulo 7.
fn filled(keys: u32) -> Store {
    let mut store = Store::default();
    for key in 0..keys {
        let value = Bytes::from(format!("{}", key % 7));
        store.write(|write| write.put(&Bytes::from(format!("{key:06}")), value, 0));
    }
    store
}

fn all() -> RangeRequest {
    RangeRequest {
        key: Bytes::from_static(&[0]),
        range_end: Bytes::from_static(&[0]),
        ..Default::default()
    }
}

fn by_value(limit: i64, order: SortOrder) -> RangeRequest {
    let (sort_order, sort_target) = (order as i32, SortTarget::Value as i32);
    RangeRequest { limit, sort_order, sort_target, ..all() }
}

fn in_steps(store: &Store, request: RangeRequest, keys: usize) -> RangeResponse {
    let mut reading = Reading::begin(store.view(), request).expect("readable");
    while !reading.step(store, keys, MAX_ANSWER_BYTES).expect("small") {}
    reading.finish()
}

fn keys(response: &RangeResponse) -> Vec<&[u8]> {
    response.kvs.iter().map(|pair| &pair.key[..]).collect()
}

#[test]
fn the_length_of_the_steps_does_not_change_the_answer() {
    let store = filled(500);
    let requests = [all(), by_value(10, SortOrder::Descend), by_value(0, SortOrder::Ascend)];
    for request in requests {
        let at_once = range(store.view(), request.clone()).expect("small");
        for keys in [1, 7, 1000] {
            assert_eq!(in_steps(&store, request.clone(), keys), at_once);
        }
    }
}

#[test]
fn the_first_few_of_many_are_found_without_keeping_the_many() {
    let store = filled(20_000);
    let request = by_value(3, SortOrder::Descend);
    let mut reading = Reading::begin(store.view(), request).expect("readable");
    let mut most = 0;
    while !reading.step(&store, STEP_KEYS, MAX_ANSWER_BYTES).expect("small") {
        most = most.max(reading.kept.len());
    }
    assert!(most < 6000, "{most} keys were kept");
    let response = reading.finish();
    assert_eq!(keys(&response), [b"000006", b"000013", b"000020"]);
    assert_eq!((response.more, response.count), (true, 20_000));
}

#[test]
fn ties_are_in_the_order_of_their_keys() {
    let response = in_steps(&filled(30), by_value(0, SortOrder::Descend), 4);
    assert_eq!(keys(&response)[..5], [b"000006", b"000013", b"000020", b"000027", b"000005"]);
}

#[test]
fn the_count_includes_what_a_limit_leaves_out() {
    let request = RangeRequest { limit: 3, ..all() };
    let response = in_steps(&filled(10), request, 4);
    assert_eq!((response.kvs.len(), response.more, response.count), (3, true, 10));
    let request = RangeRequest { limit: 10, ..all() };
    let response = in_steps(&filled(10), request, 4);
    assert_eq!((response.kvs.len(), response.more, response.count), (10, false, 10));
}

#[test]
fn an_answer_of_too_many_bytes_is_refused_before_it_is_built() {
    let mut store = Store::default();
    let value = Bytes::from(vec![b'v'; 1024]);
    for key in 0..100 {
        store.write(|write| write.put(&Bytes::from(format!("{key:06}")), value.clone(), 0));
    }
    let read = |request| {
        let mut reading = Reading::begin(store.view(), request).expect("readable");
        while !reading.step(&store, 10, 50 * 1024)? {}
        Ok(reading.finish().kvs.len())
    };
    assert_eq!(read(all()), Err(Refusal::AnswerTooLarge));
    assert_eq!(read(RangeRequest { limit: 10, ..all() }), Ok(10));
    assert_eq!(read(RangeRequest { keys_only: true, ..all() }), Ok(100));
    assert_eq!(read(RangeRequest { count_only: true, ..all() }), Ok(0));
}
