//! What a hostile client, or one that does not read, may cost the server.

#[path = "solo/mod.rs"]
mod solo;

use std::fs;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use kontiki_etcd::ServerLimits;
use kontiki_etcd::api::etcdserverpb::alarm_request::AlarmAction;
use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::api::etcdserverpb::maintenance_client::MaintenanceClient;
use kontiki_etcd::api::etcdserverpb::request_op::Request as Op;
use kontiki_etcd::api::etcdserverpb::{
    AlarmRequest, CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp,
    StatusRequest, TxnRequest,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;
use tonic::codegen::http::Request;
use tonic::transport::Channel;

use solo::{Setup, Solo};

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";

/// Longer than any step of these tests takes; only a server that hangs reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(limits: ServerLimits) -> Solo {
    Solo::start_with(Setup { limits, ..Setup::default() }).await
}

async fn client(server: &Solo) -> KvClient<Channel> {
    KvClient::connect(format!("http://{}", server.endpoint())).await.expect("it listens")
}

/// A plain HTTP/2 connection with this flow-control window for answers, and the end of the
/// connection.
async fn bare(server: &Solo, window: u32) -> (SendRequest<Bytes>, tokio::task::JoinHandle<()>) {
    let stream = TcpStream::connect(server.endpoint()).await.expect("it listens");
    let mut builder = h2::client::Builder::new();
    let connected = builder.initial_window_size(window).handshake(stream).await;
    let (sender, connection) = connected.expect("it speaks HTTP/2");
    // Only that it ended matters, not how.
    let ended = tokio::spawn(async move { drop(connection.await) });
    (sender, ended)
}

fn call(path: &str) -> Request<()> {
    Request::post(format!("http://server{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a sound request")
}

fn framed(message: &impl prost::Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.encoded_len() as u32);
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

fn key(name: &str) -> RangeRequest {
    RangeRequest { key: name.to_owned().into(), ..RangeRequest::default() }
}

fn pair(name: &str, length: usize) -> PutRequest {
    let (key, value) = (name.to_owned().into(), vec![b'v'; length].into());
    PutRequest { key, value, ..PutRequest::default() }
}

/// The memory that the process has allocated, resident or not, in KiB.
fn allocated_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmData:")).expect("it is told");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

#[tokio::test]
async fn a_request_that_announces_much_and_sends_nothing_costs_what_it_sent() {
    let server = Solo::start().await;
    client(&server).await.range(key("k")).await.expect("it serves");
    let before = allocated_kib();
    let mut announced = Vec::new();
    for _ in 0..4 {
        let (sender, _) = bare(&server, 65_535).await;
        let mut sender = sender.ready().await.expect("open");
        for _ in 0..250 {
            let (answer, mut body) = sender.send_request(call(PUT), false).expect("open");
            body.send_data(Bytes::from_static(&[0, 0, 0x1f, 0, 0]), false).expect("open");
            announced.push((answer, body));
            sender = sender.ready().await.expect("open");
        }
    }
    // Once a later request is answered, the server has read everything that was sent before.
    client(&server).await.range(key("k")).await.expect("it serves");
    let taken = allocated_kib().saturating_sub(before) / 1024;
    assert!(taken < 500, "1000 requests of two announced megabytes took {taken} MiB");
}

#[tokio::test]
async fn a_request_that_does_not_arrive_is_refused_in_time() {
    let limits = ServerLimits { request_time: Duration::from_secs(1), ..ServerLimits::default() };
    let server = start(limits).await;
    let (sender, _ended) = bare(&server, 65_535).await;
    let mut sender = sender.ready().await.expect("open");
    let (answer, mut body) = sender.send_request(call(PUT), false).expect("open");
    body.send_data(Bytes::from_static(&[0, 0, 0, 1, 0, 7]), false).expect("open");
    let answer = timeout(PATIENCE, answer).await.expect("it is answered").expect("it is answered");
    let status = answer.headers().get("grpc-status").expect("a status");
    assert_eq!(status, (Code::DeadlineExceeded as i32).to_string().as_str());
}

/// What went wrong: a request with a whole message and no end stayed in progress without a limit,
/// and enough such requests kept all other clients out.
#[tokio::test]
async fn a_request_that_does_not_end_is_refused_in_time() {
    let limits = ServerLimits { request_time: Duration::from_secs(1), ..ServerLimits::default() };
    let server = start(limits).await;
    let (sender, _ended) = bare(&server, 65_535).await;
    let mut sender = sender.ready().await.expect("open");
    let (answer, mut body) = sender.send_request(call(PUT), false).expect("open");
    body.send_data(framed(&pair("k", 1)), false).expect("open");
    let answer = timeout(PATIENCE, answer).await.expect("it is answered").expect("it is answered");
    let status = answer.headers().get("grpc-status").expect("a status");
    assert_eq!(status, (Code::DeadlineExceeded as i32).to_string().as_str());
    client(&server).await.range(key("k")).await.expect("it serves");
}

#[tokio::test]
async fn requests_that_are_held_have_a_limit_in_bytes() {
    let server = start(ServerLimits { request_bytes: 100_000, ..ServerLimits::default() }).await;
    let (sender, _ended) = bare(&server, 65_535).await;
    let mut sender = sender.ready().await.expect("open");
    let mut half = BytesMut::from(&[0, 0, 1, 0, 0][..]);
    half.resize(30_000, 0);
    let mut held = Vec::new();
    let refused = loop {
        assert!(held.len() < 20, "nothing is refused");
        let (answer, mut body) = sender.send_request(call(PUT), false).expect("open");
        body.send_data(half.clone().freeze(), false).expect("open");
        sender = sender.ready().await.expect("open");
        match timeout(Duration::from_millis(300), answer).await {
            Ok(answer) => break answer.expect("it is answered"),
            Err(_) => held.push(body),
        }
    };
    let status = refused.headers().get("grpc-status").expect("a status");
    assert_eq!(status, (Code::ResourceExhausted as i32).to_string().as_str());
    assert!(held.len() >= 3, "{} requests of 30,000 bytes were held", held.len());
}

/// What went wrong: only the bytes of a request counted against the limit, so a request in many
/// small or empty pieces took much more memory than it counted.
#[tokio::test]
async fn the_pieces_of_a_held_request_have_a_limit_too() {
    let server = start(ServerLimits { request_bytes: 100_000, ..ServerLimits::default() }).await;
    let (sender, _ended) = bare(&server, 65_535).await;
    let mut sender = sender.ready().await.expect("open");
    let (answer, mut body) = sender.send_request(call(PUT), false).expect("open");
    body.send_data(Bytes::from_static(&[0, 0, 1, 0, 0]), false).expect("open");
    for _ in 0..2000 {
        body.send_data(Bytes::from_static(&[7]), false).expect("open");
    }
    let answer = timeout(PATIENCE, answer).await.expect("it is answered").expect("it is answered");
    let status = answer.headers().get("grpc-status").expect("a status");
    assert_eq!(status, (Code::ResourceExhausted as i32).to_string().as_str());
}

#[tokio::test]
async fn a_client_that_reads_no_answers_is_cut_off() {
    let limits = ServerLimits { answer_time: Duration::from_secs(1), ..ServerLimits::default() };
    let server = start(limits).await;
    client(&server).await.put(pair("k", 1000)).await.expect("it serves");
    let (sender, ended) = bare(&server, 0).await;
    let mut sender = sender.ready().await.expect("open");
    let (answer, mut body) = sender.send_request(call(RANGE), false).expect("open");
    body.send_data(framed(&key("k")), true).expect("open");
    let answer = timeout(PATIENCE, answer).await.expect("it is answered").expect("it is answered");
    assert_eq!(answer.status(), 200);
    timeout(PATIENCE, ended).await.expect("the connection is closed").expect("no panic");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let limits = ServerLimits { request_time: Duration::from_secs(1), ..ServerLimits::default() };
    let server = start(limits).await;
    let mut stream = TcpStream::connect(server.endpoint()).await.expect("it listens");
    let mut all = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    // Both the end and a reset of the connection are correct.
    let _ = read.expect("the connection is closed");
}

#[tokio::test]
async fn beyond_the_limit_on_connections_a_client_waits_until_another_disconnects() {
    let server = start(ServerLimits { connections: 2, ..ServerLimits::default() }).await;
    let mut first = client(&server).await;
    let mut second = client(&server).await;
    first.range(key("k")).await.expect("it serves");
    second.range(key("k")).await.expect("it serves");
    let endpoint = server.endpoint().to_owned();
    let third = tokio::spawn(async move {
        let mut client = KvClient::connect(format!("http://{endpoint}")).await?;
        client.range(key("k")).await.map_err(Box::<dyn std::error::Error + Send + Sync>::from)?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!third.is_finished(), "a third client was served");
    drop(first);
    let served = timeout(PATIENCE, third).await.expect("it is served").expect("no panic");
    served.expect("it is served");
    second.range(key("k")).await.expect("it serves");
}

#[tokio::test]
async fn a_full_key_space_raises_the_alarm_and_accepts_puts_once_there_is_space() {
    let server = start(ServerLimits { quota_bytes: 100_000, ..ServerLimits::default() }).await;
    let mut client = client(&server).await;
    let connected = MaintenanceClient::connect(format!("http://{}", server.endpoint())).await;
    let mut maintenance = connected.expect("it listens");
    for number in 0..9 {
        client.put(pair(&format!("k{number}"), 10_000)).await.expect("there is room");
    }
    let full = client.put(pair("k9", 10_000)).await.expect_err("there is no room");
    let text = "etcdserver: mvcc: database space exceeded";
    assert_eq!((full.code(), full.message()), (Code::ResourceExhausted, text));
    // The alarm is raised once, however often a put is refused.
    let index = async |maintenance: &mut MaintenanceClient<Channel>| {
        maintenance.status(StatusRequest {}).await.expect("it serves").into_inner().raft_index
    };
    let before = index(&mut maintenance).await;
    for _ in 0..3 {
        client.put(pair("k9", 10_000)).await.expect_err("there is no room");
    }
    assert_eq!(index(&mut maintenance).await, before, "refused puts are in the log");
    // Even a put that would fit is refused until the alarm is disarmed.
    let full = client.put(pair("k0", 1)).await.expect_err("the alarm is raised");
    assert_eq!(full.message(), text);
    let status = maintenance.status(StatusRequest {}).await.expect("it serves").into_inner();
    assert_eq!(status.errors, ["memberID:7 alarm:NOSPACE "]);
    assert_eq!(client.range(key("k0")).await.expect("it reads").into_inner().count, 1);

    let all = DeleteRangeRequest { key: "k".into(), range_end: "l".into(), prev_kv: false };
    let deleted = client.delete_range(all).await.expect("it deletes").into_inner();
    let revision = deleted.header.expect("a header").revision;
    let compaction = CompactionRequest { revision, physical: true };
    client.compact(compaction).await.expect("it compacts");
    let disarm = AlarmAction::Deactivate as i32;
    let raised = maintenance.alarm(AlarmRequest::default()).await.expect("it tells").into_inner();
    for alarm in raised.alarms {
        let (member_id, alarm) = (alarm.member_id, alarm.alarm);
        let request = AlarmRequest { action: disarm, member_id, alarm };
        maintenance.alarm(request).await.expect("it is disarmed");
    }
    client.put(pair("k0", 10_000)).await.expect("there is room again");
}

/// What went wrong: the versions that a compaction discarded were freed only with the commands that
/// followed; if none followed, they were never freed.
#[tokio::test]
async fn a_compaction_frees_what_it_discarded_though_no_command_follows() {
    let server = Solo::start().await;
    let mut client = client(&server).await;
    let connected = MaintenanceClient::connect(format!("http://{}", server.endpoint())).await;
    let mut maintenance = connected.expect("it listens");
    let mut revision = 0;
    // Each of 2000 keys is put twice: the command itself sweeps only about half of the old
    // versions.
    for number in 0..40 {
        let key = |key| format!("k{}", number % 20 * 100 + key);
        let put = |one| RequestOp { request: Some(Op::RequestPut(pair(&key(one), 100))) };
        let success = (0..100).map(put).collect();
        let txn = TxnRequest { success, ..TxnRequest::default() };
        let answer = client.txn(txn).await.expect("it serves").into_inner();
        revision = answer.header.expect("a header").revision;
    }
    let mut status = async || {
        let status = maintenance.status(StatusRequest {}).await.expect("it serves").into_inner();
        (status.db_size, status.raft_index)
    };
    let (before, _) = status().await;
    client.compact(CompactionRequest { revision, physical: false }).await.expect("it compacts");
    let (_, compacted_at) = status().await;
    let small = async {
        while status().await.0 > before * 11 / 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, small).await.expect("it is freed");
    assert_eq!(status().await.1, compacted_at, "no command was proposed for it");
}
