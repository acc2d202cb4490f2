//! Requests that come while there is no leader: they wait for one, since nothing has happened yet.

mod solo;

use kontiki_etcd::api::etcdserverpb::PutRequest;
use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::engine::ProposeError;

use solo::{Setup, Solo};

#[tokio::test]
async fn a_put_waits_for_a_leader_and_is_applied_once() {
    let none = || ProposeError::NotLeader { hint: None };
    let failures = [none(), none(), ProposeError::Lost, none()].into();
    let solo = Solo::start_with(Setup { failures, ..Setup::default() }).await;
    let url = format!("http://{}", solo.endpoint());
    let mut client = KvClient::connect(url).await.expect("it serves");
    let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
    let answer = client.put(put).await.expect("the fifth attempt is taken").into_inner();
    assert_eq!(answer.header.expect("a header").revision, 2, "one put, one revision");
}

#[tokio::test]
async fn an_unknown_outcome_is_not_tried_again() {
    let failures = [ProposeError::Unknown].into();
    let solo = Solo::start_with(Setup { failures, ..Setup::default() }).await;
    let url = format!("http://{}", solo.endpoint());
    let mut client = KvClient::connect(url).await.expect("it serves");
    let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
    let refused = client.put(put).await.expect_err("it may have happened");
    assert_eq!(refused.message(), "etcdserver: request timed out");
}
