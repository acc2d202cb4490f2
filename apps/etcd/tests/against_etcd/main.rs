//! Compares this server with a real etcd, beside each other on this machine.
//!
//! The same commands of the real `etcdctl`, and the same requests of a seeded random sequence, go to
//! both servers, and everything that comes back must be equal: text, JSON, exit status, each field of
//! each answer. Exempt are only what two clusters cannot share (ids, names, addresses, terms), times,
//! and sizes of files; `mask` lists them. Without etcd on the machine the tests say so and pass,
//! unless `KONTIKI_REQUIRE=all` is set.

mod mask;
mod oracle;
mod random;
mod script;
mod solo;

use kontiki_etcd::api::etcdserverpb::PutRequest;
use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;

use oracle::Oracle;
use random::Comparison;
use solo::Solo;

/// How many random requests are compared, in as many rounds on the same key space.
const ROUNDS: u64 = 12;
const REQUESTS_PER_ROUND: usize = 250;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_sees_no_difference() {
    let Some(oracle) = Oracle::start().await else { return };
    let solo = Solo::start().await;
    let steps = script::parse(include_str!("cases.txt"));
    let (theirs, ours) =
        tokio::join!(script::run(&steps, oracle.endpoint()), script::run(&steps, solo.endpoint()),);
    let mut differences = String::new();
    for (theirs, ours) in theirs.iter().zip(&ours) {
        if theirs != ours {
            differences += &format!("--- etcd\n{theirs}\n--- this server\n{ours}\n");
        }
    }
    assert_eq!(theirs.len(), ours.len());
    assert!(theirs.len() > 300, "the list of cases has shrunk to {}", theirs.len());
    assert!(differences.is_empty(), "etcdctl saw differences:\n{differences}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_requests_are_answered_alike() {
    let Some(oracle) = Oracle::start().await else { return };
    let solo = Solo::start().await;
    let mut comparison = Comparison::connect(oracle.endpoint(), solo.endpoint()).await;
    for seed in 0..ROUNDS {
        comparison.run(seed, REQUESTS_PER_ROUND).await;
    }
    comparison.check_coverage();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ties_are_sorted_alike() {
    let Some(oracle) = Oracle::start().await else { return };
    let solo = Solo::start().await;
    let mut comparison = Comparison::connect(oracle.endpoint(), solo.endpoint()).await;
    for seed in 0..8 {
        comparison.run_sorts(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_on_size_are_alike() {
    let Some(oracle) = Oracle::start().await else { return };
    let solo = Solo::start().await;
    for size in [1_572_000, 1_572_864, 2_000_000, 2_200_000, 5_000_000] {
        let mut answers = Vec::new();
        for endpoint in [oracle.endpoint(), solo.endpoint()] {
            let mut client =
                KvClient::connect(format!("http://{endpoint}")).await.expect("the server is up");
            let request = PutRequest {
                key: "k".into(),
                value: vec![b'v'; size].into(),
                ..PutRequest::default()
            };
            let answer = client.put(request).await;
            answers.push(answer.map(drop).map_err(|s| (s.code(), s.message().to_owned())));
        }
        assert_eq!(answers[0], answers[1], "a value of {size} bytes");
        assert_eq!(answers[0].is_ok(), size < 1_572_800, "a value of {size} bytes");
    }
}
