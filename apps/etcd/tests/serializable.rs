//! Reads without a barrier, around a start: none may show a key space that is still being filled.

mod solo;

use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::api::etcdserverpb::{RangeRequest, TxnRequest};

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
    assert_eq!(refused.message(), "etcdserver: no leader");
    // A transaction that holds nothing asks for no more than such a read.
    client.txn(TxnRequest::default()).await.expect_err("not caught up");
    client.range(read(true)).await.expect("the third barrier is passed");
    client.range(read(true)).await.expect("and holds from then on");
    client.range(read(false)).await.expect_err("a linearizable read asks each time");
    client.range(read(false)).await.expect("and is answered when a barrier is passed");
}

#[tokio::test]
async fn where_barriers_pass_the_first_read_is_answered() {
    let solo = Solo::start().await;
    let url = format!("http://{}", solo.endpoint());
    let mut client = KvClient::connect(url).await.expect("it serves");
    client.range(read(true)).await.expect("answered");
}
