//! Requests that wait. Reads without a barrier wait after a start, since none may show a key space
//! that is still being filled. Changes wait while there is no leader, since nothing has happened
//! yet.

mod solo;

use kontiki_etcd::api::etcdserverpb::cluster_client::ClusterClient;
use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::api::etcdserverpb::{
    MemberAddRequest, MemberRemoveRequest, PutRequest, RangeRequest, TxnRequest,
};
use kontiki_etcd::engine::ProposeError;

use tokio::net::TcpListener;

use solo::{Setup, Solo};

fn read(serializable: bool) -> RangeRequest {
    RangeRequest { key: "k".into(), serializable, ..RangeRequest::default() }
}

#[tokio::test]
async fn a_serializable_read_waits_for_the_first_barrier_only() {
    let barriers = [false, false, true, false].into();
    let solo = Solo::start_with(Setup { barriers, ..Setup::default() }).await;
    let url = format!("http://{}", solo.endpoint());
    let mut client = KvClient::connect(url).await.expect("it serves");
    let refused = client.range(read(true)).await.expect_err("not caught up");
    assert_eq!(refused.message(), "etcdserver: request timed out");
    // An empty transaction is treated like such a read.
    client.txn(TxnRequest::default()).await.expect_err("not caught up");
    client.range(read(true)).await.expect("the third barrier is passed");
    client.range(read(true)).await.expect("and holds from then on");
    client.range(read(false)).await.expect_err("a linearizable read asks each time");
    client.range(read(false)).await.expect("and is answered when a barrier is passed");
}

#[tokio::test]
async fn if_barriers_pass_the_first_read_is_answered() {
    let solo = Solo::start().await;
    let url = format!("http://{}", solo.endpoint());
    let mut client = KvClient::connect(url).await.expect("it serves");
    client.range(read(true)).await.expect("answered");
}

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
async fn an_unknown_outcome_is_not_retried() {
    let failures = [ProposeError::Unknown].into();
    let solo = Solo::start_with(Setup { failures, ..Setup::default() }).await;
    let url = format!("http://{}", solo.endpoint());
    let mut client = KvClient::connect(url).await.expect("it serves");
    let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
    let refused = client.put(put).await.expect_err("it may have happened");
    assert_eq!(refused.message(), "etcdserver: request timed out");
}

/// What went wrong: the leader's host lost its power after a request was passed on, and a client
/// without a deadline waited for ever.
#[tokio::test]
async fn a_request_that_the_leader_never_answers_ends() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let leader = silent.local_addr().expect("it is bound").to_string();
    let solo = Solo::start_with(Setup { leader: Some(leader), ..Setup::default() }).await;
    let url = format!("http://{}", solo.endpoint());
    let mut client = ClusterClient::connect(url).await.expect("it serves");
    let peer_urls = vec!["http://127.0.0.1:9".to_owned()];
    let add = MemberAddRequest { peer_urls, is_learner: true };
    let (answer, connection) = tokio::join!(client.member_add(add), silent.accept());
    connection.expect("the request was passed on");
    let refused = answer.expect_err("the outcome is unknown");
    assert_eq!(refused.message(), "etcdserver: request timed out");
}

/// What went wrong: the leader changed while it removed a member, and etcd's client was told that
/// the leader had changed, or that there was no such member.
#[tokio::test]
async fn a_change_of_the_members_goes_on_when_the_leader_changes() {
    for is_made in [true, false] {
        let interrupted = [is_made, is_made].into();
        let solo = Solo::start_with(Setup { interrupted, ..Setup::default() }).await;
        let url = format!("http://{}", solo.endpoint());
        let mut client = ClusterClient::connect(url).await.expect("it serves");
        let peer_urls = vec!["http://127.0.0.1:9".to_owned()];
        let add = MemberAddRequest { peer_urls, is_learner: true };
        let added = client.member_add(add).await.expect("added").into_inner();
        let added = added.member.expect("it is named");
        assert_eq!((added.id, added.is_learner), (8, true));
        let remove = MemberRemoveRequest { id: added.id };
        // The second interruption was used up by the first request if nothing was made then.
        let left = client.member_remove(remove).await.expect("removed").into_inner().members;
        assert_eq!(left.iter().map(|member| member.id).collect::<Vec<_>>(), [7]);
        let gone = client.member_remove(remove).await.expect_err("it is gone");
        assert_eq!(gone.message(), "etcdserver: member not found");
    }
}
