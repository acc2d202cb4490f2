//! Compares this server with a real etcd on the same machine.
//!
//! Both servers get the same commands of the real `etcdctl` and the same requests of a seeded
//! random sequence, and everything that they return must be equal: text, JSON, exit status, each
//! field of each answer. The exceptions are values that two clusters cannot share (ids, names,
//! addresses, terms), times, and sizes of files; `mask` lists them. Without etcd on the machine the
//! tests report that and pass, unless `KONTIKI_REQUIRE=all` is set.

mod mask;
mod oracle;
mod random;
mod script;
#[path = "../solo/mod.rs"]
mod solo;
mod subject;

use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::api::etcdserverpb::request_op::Request;
use kontiki_etcd::api::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};
use tonic::transport::Channel;
use tonic::{Response, Status};

use oracle::Oracle;
use random::Comparison;
use subject::{Subject, member_count};

/// How many random requests are compared, in as many rounds on the same key space.
const ROUNDS: u64 = 12;
const REQUESTS_PER_ROUND: usize = 250;

/// The two clusters, empty, or none where etcd is missing.
async fn start() -> Option<(Oracle, Subject)> {
    let oracle = Oracle::start(member_count()).await?;
    Some((oracle, Subject::start().await))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_sees_no_difference() {
    let steps = script::parse(include_str!("cases.txt"));
    // Each member gets all commands, so that both leader and followers are tested.
    for member in 0..member_count() {
        let Some((oracle, subject)) = start().await else { return };
        let (theirs, ours) = (oracle.endpoints(), subject.endpoints());
        let (theirs, ours) =
            tokio::join!(script::run(&steps, &theirs[member]), script::run(&steps, &ours[member]),);
        let mut differences = String::new();
        for (theirs, ours) in theirs.iter().zip(&ours) {
            if theirs != ours {
                differences += &format!("--- etcd\n{theirs}\n--- this server\n{ours}\n");
            }
        }
        assert_eq!(theirs.len(), ours.len());
        assert!(theirs.len() > 700, "the list of cases has shrunk to {}", theirs.len());
        assert!(differences.is_empty(), "etcdctl saw differences:\n{differences}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_requests_are_answered_alike() {
    let Some((oracle, subject)) = start().await else { return };
    let mut comparison = Comparison::connect(&oracle.endpoints(), &subject.endpoints()).await;
    for seed in 0..ROUNDS {
        comparison.run(seed, REQUESTS_PER_ROUND).await;
    }
    comparison.check_coverage();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ties_are_sorted_alike() {
    let Some((oracle, subject)) = start().await else { return };
    let mut comparison = Comparison::connect(&oracle.endpoints(), &subject.endpoints()).await;
    for seed in 0..8 {
        comparison.run_sorts(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_on_size_are_alike() {
    let Some((oracle, subject)) = start().await else { return };
    let mut theirs = connect(&oracle.endpoints()).await;
    let mut ours = connect(&subject.endpoints()).await;
    for size in [1_572_000, 1_572_864, 2_000_000, 2_200_000, 5_000_000] {
        let request =
            PutRequest { key: "k".into(), value: vec![b'v'; size].into(), ..PutRequest::default() };
        let theirs = in_words(theirs.put(request.clone()).await);
        let ours = in_words(ours.put(request).await);
        assert_eq!(theirs, ours, "a value of {size} bytes");
        assert_eq!(theirs.is_ok(), size < 1_572_800, "a value of {size} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_on_transactions_are_alike() {
    let Some((oracle, subject)) = start().await else { return };
    let mut theirs = connect(&oracle.endpoints()).await;
    let mut ours = connect(&subject.endpoints()).await;
    let gets = |count| vec![get(); count];
    let compares = |count| vec![Compare { key: "k".into(), ..Compare::default() }; count];
    let inner = |count| vec![in_transaction(gets(count))];
    let success = |success| TxnRequest { success, ..TxnRequest::default() };
    let failure = |failure| TxnRequest { failure, ..TxnRequest::default() };
    let deep = |depth| (0..depth).fold(gets(1), |inner, _| vec![in_transaction(inner)]);
    let too_many = "etcdserver: too many operations in txn request";
    let cases = [
        (success(gets(128)), true),
        (success(gets(129)), false),
        (failure(gets(128)), true),
        (failure(gets(129)), false),
        (TxnRequest { compare: compares(128), ..TxnRequest::default() }, true),
        (TxnRequest { compare: compares(129), ..TxnRequest::default() }, false),
        (success(inner(127)), true),
        (success(inner(128)), false),
        (failure(inner(128)), false),
        (TxnRequest { compare: compares(100), ..success(inner(28)) }, true),
        (TxnRequest { compare: compares(100), ..success(inner(29)) }, false),
        (success(deep(30)), true),
    ];
    for (number, (request, is_allowed)) in cases.into_iter().enumerate() {
        let theirs = in_words(theirs.txn(request.clone()).await);
        let ours = in_words(ours.txn(request).await);
        assert_eq!(theirs, ours, "case {number}");
        assert_eq!(theirs.is_ok(), is_allowed, "case {number}");
        if let Err(refusal) = theirs {
            assert!(refusal.ends_with(too_many), "case {number}: {refusal}");
        }
    }
}

fn get() -> RequestOp {
    let request = RangeRequest { key: "k".into(), ..RangeRequest::default() };
    RequestOp { request: Some(Request::RequestRange(request)) }
}

fn in_transaction(success: Vec<RequestOp>) -> RequestOp {
    let request = TxnRequest { success, ..TxnRequest::default() };
    RequestOp { request: Some(Request::RequestTxn(request)) }
}

/// A connection to the last member; in a cluster, it is rarely the leader.
async fn connect(endpoints: &[String]) -> KvClient<Channel> {
    let endpoint = endpoints.last().expect("there is a member");
    KvClient::connect(format!("http://{endpoint}")).await.expect("the server is up")
}

fn in_words<R>(answer: Result<Response<R>, Status>) -> Result<(), String> {
    answer.map(drop).map_err(|status| format!("{:?}: {}", status.code(), status.message()))
}
