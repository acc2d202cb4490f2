//! The client of Kontiki's own tools, against servers that fail in the ways that it handles.

mod solo;

use std::time::Duration;

use kontiki_etcd::api::etcdserverpb::{DeleteRangeRequest, RangeRequest};
use kontiki_etcd::client::{Client, ClientError};
use kontiki_etcd::engine::ProposeError;

use solo::{Setup, Solo};

/// No process listens on this port: it is reserved.
const UNUSED: &str = "127.0.0.1:1";

fn one(key: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

async fn following(leader: &str) -> Solo {
    Solo::start_with(Setup { leader: Some(leader.to_owned()), ..Setup::default() }).await
}

async fn value_at(endpoint: &str, key: &'static str) -> Option<String> {
    let mut client = Client::new([endpoint]).expect("an endpoint");
    let answer = client.get(one(key)).await.expect("it can be read");
    answer.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned())
}

#[tokio::test]
async fn it_puts_reads_and_deletes() {
    let solo = Solo::start().await;
    let mut client = Client::new([solo.endpoint()]).expect("an endpoint");
    assert_eq!(client.put("k", "v").await.expect("put"), 2);
    assert_eq!(client.get(one("k")).await.expect("get").count, 1);
    let all = DeleteRangeRequest { key: "k".into(), ..DeleteRangeRequest::default() };
    assert_eq!(client.delete(all).await.expect("deleted"), 1);
    let refused = client.put("", "v").await.expect_err("a key is needed");
    assert_eq!(refused.to_string(), "etcdserver: key is not provided");
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_skipped() {
    let solo = Solo::start().await;
    let mut client = Client::new([UNUSED, solo.endpoint()]).expect("endpoints");
    client.put("k", "v").await.expect("the second endpoint takes it");
}

#[tokio::test]
async fn it_gives_up_when_no_member_answers_in_time() {
    let client = Client::new([UNUSED]).expect("an endpoint");
    let mut client = client.with_timeout(Duration::from_millis(300));
    let error = client.put("k", "v").await.expect_err("no process listens");
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn it_goes_to_the_leader_that_a_member_names() {
    let leader = Solo::start().await;
    let follower = following(leader.endpoint()).await;
    let mut client = Client::new([follower.endpoint()]).expect("an endpoint");
    client.put("k", "v").await.expect("put");
    assert_eq!(value_at(leader.endpoint(), "k").await, Some("v".to_owned()));
}

#[tokio::test]
async fn a_hint_to_an_unreachable_leader_is_not_followed() {
    let follower = following(UNUSED).await;
    let mut client = Client::new([follower.endpoint()]).expect("an endpoint");
    client.put("k", "v").await.expect("the member itself takes it");
}

#[tokio::test]
async fn what_did_not_happen_is_retried() {
    // The server retries the first failure itself; the client retries the others.
    let failures = [
        ProposeError::Lost,
        ProposeError::NotLeader { hint: None },
        ProposeError::Busy,
        ProposeError::Closed,
    ];
    let solo = Solo::start_with(Setup { failures: failures.into(), ..Setup::default() }).await;
    let mut client = Client::new([solo.endpoint()]).expect("an endpoint");
    assert_eq!(client.put("k", "v").await.expect("in the end"), 2);
}

#[tokio::test]
async fn what_may_have_happened_is_not_retried() {
    let failures = [ProposeError::Unknown].into();
    let solo = Solo::start_with(Setup { failures, ..Setup::default() }).await;
    let mut client = Client::new([solo.endpoint()]).expect("an endpoint");
    let error = client.put("k", "v").await.expect_err("the outcome is unknown");
    assert!(matches!(error, ClientError::Unknown { .. }), "{error:?}");
    assert_eq!(value_at(solo.endpoint(), "k").await, None);
}

#[tokio::test]
async fn status_reports_each_endpoint() {
    let solo = Solo::start().await;
    let client = Client::new([UNUSED, solo.endpoint()]).expect("endpoints");
    let statuses = client.status().await;
    assert!(statuses[0].status.is_err());
    let status = statuses[1].status.as_ref().expect("it answers");
    assert_eq!((status.id, status.leader, status.role.as_str()), (7, 7, "leader"));
    assert_eq!((status.name.as_str(), status.backend.as_str()), ("solo", "none"));
    assert_eq!(status.pid, std::process::id());
    assert_eq!(status.members[0].client_url, format!("http://{}", solo.endpoint()));
}
