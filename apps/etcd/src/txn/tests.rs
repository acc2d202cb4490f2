//! Tests of transactions alone: what they see, what they refuse, and their limits.

use bytes::Bytes;

use super::*;
use crate::api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::api::etcdserverpb::{Compare, DeleteRangeRequest, PutRequest};
use crate::mvcc::Span;

fn put_op(key: &'static str) -> RequestOp {
    let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(b"v"));
    let request = PutRequest { key, value, prev_kv: true, ..PutRequest::default() };
    RequestOp { request: Some(Request::RequestPut(request)) }
}

fn delete_op(key: &'static str, end: &'static str) -> RequestOp {
    let (key, range_end) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(end.as_bytes()));
    let request = DeleteRangeRequest { key, range_end, prev_kv: true };
    RequestOp { request: Some(Request::RequestDeleteRange(request)) }
}

fn get_op(key: &'static str, revision: i64) -> RequestOp {
    let key = Bytes::from_static(key.as_bytes());
    let request = RangeRequest { key, revision, ..RangeRequest::default() };
    RequestOp { request: Some(Request::RequestRange(request)) }
}

fn txn_op(inner: TxnRequest) -> RequestOp {
    RequestOp { request: Some(Request::RequestTxn(inner)) }
}

fn success(operations: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success: operations, ..TxnRequest::default() }
}

fn exists(key: &'static str) -> Compare {
    Compare {
        result: CompareResult::Greater as i32,
        target: CompareTarget::Version as i32,
        key: Bytes::from_static(key.as_bytes()),
        target_union: Some(TargetUnion::Version(0)),
        range_end: Bytes::new(),
    }
}

/// Runs a transaction, and reads its deferred ranges at once.
fn carry_out(store: &mut Store, request: TxnRequest) -> Result<TxnResponse, Refusal> {
    let mut deferrals = Deferrals::new(true);
    let mut response = run(store, request, &mut deferrals)?;
    deferrals.fill_at_once(store, &mut response);
    Ok(response)
}

fn revision_of(response: &TxnResponse) -> i64 {
    response.header.as_ref().expect("a header").revision
}

#[test]
fn all_changes_of_a_transaction_have_one_revision() {
    let mut store = Store::default();
    let response = carry_out(&mut store, success(vec![put_op("a"), put_op("b")])).expect("sound");
    assert_eq!((revision_of(&response), store.revision()), (2, 2));
    let response = carry_out(&mut store, success(vec![delete_op("x", "")])).expect("sound");
    assert_eq!((revision_of(&response), store.revision()), (2, 2));
}

#[test]
fn later_operations_see_what_earlier_ones_did() {
    let mut store = Store::default();
    let request = success(vec![put_op("a"), get_op("a", 0), delete_op("a", "\0"), get_op("a", 0)]);
    let response = carry_out(&mut store, request).expect("sound");
    let counts = response.responses.iter().map(|response| match &response.response {
        Some(Response::ResponseRange(range)) => range.count,
        Some(Response::ResponseDeleteRange(delete)) => delete.deleted,
        _ => -1,
    });
    assert_eq!(counts.collect::<Vec<_>>(), [-1, 1, 1, 0]);
}

#[test]
fn inner_compares_see_the_store_as_it_was_before() {
    let mut store = Store::default();
    let inner = TxnRequest {
        compare: vec![exists("a")],
        success: vec![put_op("then")],
        failure: vec![put_op("else")],
    };
    carry_out(&mut store, success(vec![put_op("a"), txn_op(inner)])).expect("sound");
    assert!(store.view().get(b"then").is_none());
    assert!(store.view().get(b"else").is_some());
}

#[test]
fn ranges_read_after_the_transaction_see_their_own_point_inside_it() {
    let mut store = Store::default();
    carry_out(&mut store, success(vec![put_op("a"), put_op("b")])).expect("sound");
    let all = || {
        let mut range = get_op("a", 0);
        if let Some(Request::RequestRange(range)) = &mut range.request {
            range.range_end = Bytes::from_static(b"\0");
        }
        range
    };
    let inner = success(vec![delete_op("a", "b"), all()]);
    let operations = vec![all(), put_op("c"), all(), txn_op(inner), delete_op("b", "\0"), all()];
    let mut deferrals = Deferrals::new(true);
    let mut response = run(&mut store, success(operations), &mut deferrals).expect("sound");
    let pin = store.pin(deferrals.lowest().expect("ranges are deferred"));
    store.compact(store.revision()).expect("not yet compacted");
    store.sweep(100);
    deferrals.fill_at_once(&store, &mut response);
    drop(pin);
    let count = |response: &ResponseOp| match &response.response {
        Some(Response::ResponseRange(range)) => range.count,
        Some(Response::ResponseDeleteRange(delete)) => delete.prev_kvs.len() as i64,
        _ => -1,
    };
    assert_eq!(response.responses.iter().map(count).collect::<Vec<_>>(), [2, -1, 3, -1, 2, 0]);
    let Some(Response::ResponseTxn(inner)) = &response.responses[3].response else {
        panic!("the inner transaction has another answer");
    };
    assert_eq!(inner.responses.iter().map(count).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn nothing_is_read_where_no_client_waits() {
    let mut store = Store::default();
    carry_out(&mut store, success(vec![put_op("a")])).expect("sound");
    let mut deferrals = Deferrals::new(false);
    let operations = vec![get_op("a", 0), delete_op("a", "\0"), put_op("b")];
    let response = run(&mut store, success(operations), &mut deferrals).expect("sound");
    assert_eq!(deferrals.lowest(), None);
    let read = response.responses.iter().map(|response| match &response.response {
        Some(Response::ResponseRange(range)) => (range.kvs.len(), 0),
        Some(Response::ResponseDeleteRange(delete)) => (delete.prev_kvs.len(), delete.deleted),
        _ => (0, 0),
    });
    assert_eq!(read.collect::<Vec<_>>(), [(0, 0), (0, 1), (0, 0)]);
    assert_eq!(store.revision(), 3);
}

#[test]
fn the_keys_that_compares_examine_are_limited() {
    let mut store = Store::default();
    for key in 0..1000_u32 {
        store.write(|write| write.put(&Bytes::from(format!("k{key:04}")), Bytes::new(), 0));
    }
    let all = Compare { range_end: Bytes::from_static(b"\0"), ..exists("k") };
    let mut request = TxnRequest { compare: vec![all; 100], ..success(vec![put_op("a")]) };
    assert_eq!(carry_out(&mut store, request.clone()).map(|answer| answer.succeeded), Ok(true));
    let revision = store.revision();
    request.compare.push(exists("k0000"));
    assert_eq!(carry_out(&mut store, request), Err(Refusal::TooManyCompared));
    assert_eq!(store.revision(), revision);
}

#[test]
fn a_transaction_that_would_examine_too_many_keys_is_not_proposed() {
    let mut store = Store::default();
    for key in 0..=MAX_DELETED_KEYS {
        store.write(|write| write.put(&Bytes::from(format!("k{key:06}")), Bytes::new(), 0));
    }
    let halves = success(vec![delete_op("k", "k02"), delete_op("k02", "l")]);
    let nested = success(vec![delete_op("k", "k02"), txn_op(success(vec![delete_op("k02", "l")]))]);
    for request in [&halves, &nested] {
        assert_eq!(check_work(store.view(), request), Err(Refusal::TooManyDeleted));
    }
    let half = success(vec![delete_op("k", "k02")]);
    assert_eq!(check_work(store.view(), &half), Ok(()));
    let all = Compare { range_end: Bytes::from_static(b"l"), ..exists("k") };
    let request = TxnRequest { compare: vec![all; 2], ..half };
    assert_eq!(check_work(store.view(), &request), Err(Refusal::TooManyCompared));
    // Deleted keys are examined, too. A transaction that is in the log is applied in any case.
    assert!(carry_out(&mut store, halves.clone()).is_ok());
    assert_eq!(store.view().newest(Span::From(b"k")).count(), 0);
    assert_eq!(check_work(store.view(), &halves), Err(Refusal::TooManyDeleted));
}

#[test]
fn a_refused_transaction_changes_nothing() {
    let mut store = Store::default();
    let refused = carry_out(&mut store, success(vec![put_op("a"), get_op("a", 2)]));
    assert_eq!(refused, Err(Refusal::FutureRevision));
    assert_eq!(store.revision(), 1);
    assert!(store.view().get(b"a").is_none());
}

#[test]
fn a_key_is_not_written_twice() {
    let twice = [
        vec![put_op("a"), put_op("a")],
        vec![put_op("b"), delete_op("a", "c")],
        vec![delete_op("a", ""), put_op("a")],
        vec![txn_op(success(vec![put_op("a")])), put_op("a")],
        vec![txn_op(success(vec![delete_op("a", "c")])), put_op("b")],
        vec![txn_op(success(vec![delete_op("a", "")])), txn_op(success(vec![put_op("a")]))],
        vec![delete_op("a", "c"), delete_op("b", "f"), delete_op("k", "m"), put_op("e")],
    ];
    for operations in twice {
        assert_eq!(check(&success(operations.clone())), Err(Refusal::DuplicateKey));
        let failure = TxnRequest { failure: operations, ..TxnRequest::default() };
        assert_eq!(check(&failure), Err(Refusal::DuplicateKey));
    }
}

#[test]
fn what_etcd_accepts_is_accepted() {
    let either = TxnRequest {
        success: vec![put_op("a")],
        failure: vec![put_op("a")],
        ..TxnRequest::default()
    };
    let allowed = [
        vec![txn_op(either)],
        vec![delete_op("a", ""), delete_op("a", "c")],
        vec![put_op("b"), delete_op("a", "\0")],
        vec![put_op("b"), delete_op("c", "a")],
        vec![txn_op(success(vec![put_op("a")])), txn_op(success(vec![delete_op("a", "")]))],
        vec![delete_op("a", "c"), delete_op("d", "f"), put_op("c"), put_op("cz"), put_op("f")],
    ];
    for operations in allowed {
        assert_eq!(check(&success(operations)), Ok(()));
    }
}

#[test]
fn limits_hold_at_their_edges() {
    let many = |count| success((0..count).map(|_| get_op("a", 0)).collect());
    assert_eq!(check(&many(MAX_OPERATIONS)), Ok(()));
    assert_eq!(check(&many(MAX_OPERATIONS + 1)), Err(Refusal::TooManyOperations));
    let in_one = |count| success(vec![txn_op(many(count))]);
    assert_eq!(check(&in_one(MAX_OPERATIONS - 1)), Ok(()));
    assert_eq!(check(&in_one(MAX_OPERATIONS)), Err(Refusal::TooManyOperations));
    let deep = |depth| (1..depth).fold(many(1), |inner, _| success(vec![txn_op(inner)]));
    assert_eq!(check(&deep(MAX_DEPTH)), Ok(()));
    assert_eq!(check(&deep(MAX_DEPTH + 1)), Err(Refusal::TooManyOperations));
}

#[test]
fn the_deepest_transaction_can_be_sent_logged_and_answered() {
    use prost::Message;
    let mut store = Store::default();
    carry_out(&mut store, success(vec![put_op("a")])).expect("sound");
    let deep =
        (1..MAX_DEPTH).fold(success(vec![put_op("a")]), |inner, _| success(vec![txn_op(inner)]));
    assert_eq!(check(&deep), Ok(()));
    assert_eq!(TxnRequest::decode(&deep.encode_to_vec()[..]), Ok(deep.clone()));
    let response = carry_out(&mut store, deep).expect("sound");
    assert_eq!(TxnResponse::decode(&response.encode_to_vec()[..]), Ok(response));
}

#[test]
fn an_empty_operation_is_refused_as_etcd_does() {
    let empty = success(vec![RequestOp { request: None }]);
    assert_eq!(check(&empty), Err(Refusal::KeyNotFound));
}

#[test]
fn a_transaction_with_an_inner_one_counts_as_changing() {
    assert!(is_read_only(&success(vec![get_op("a", 0)])));
    assert!(is_serializable(&TxnRequest::default()));
    assert!(!is_serializable(&success(vec![get_op("a", 0)])));
    assert!(!is_read_only(&success(vec![txn_op(success(vec![get_op("a", 0)]))])));
}
