//! Loads that must not stop a running cluster: very many connections, very large reads.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::api::etcdserverpb::request_op::Request;
use kontiki_etcd::api::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tonic::Code;
use tonic::transport::Channel;

use crate::members::{Cluster, Member, cluster, has_file_log, stop_all};
use crate::tool::{eventually, kontiki};

/// The number of open files that a member may have in the first test: the limit of most shells.
const FILES: u64 = 1024;

/// The first bytes of an HTTP/2 connection (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// The number of keys in the second test, and of clients that read all of them at once.
const KEYS: usize = 100_000;
const READERS: usize = 60;

/// Timeouts so long that a busy machine alone deposes no leader. A read that blocked the member's
/// thread until its answer was ready would still depose one.
pub const PATIENT: [&str; 6] =
    ["--heartbeat-ms", "300", "--election-min-ms", "3000", "--election-max-ms", "6000"];

/// Each member's role, term and process.
fn standing(cluster: &Cluster) -> Vec<(String, u64, u64)> {
    let output = kontiki(&["status", "--json", "--endpoints", &cluster.endpoints()]);
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let members = status["members"].as_array().expect("a list").iter().map(|member| {
        let number = |field: &str| member[field].as_u64().unwrap_or(0);
        let role = member["role"].as_str().unwrap_or_default().to_owned();
        (role, number("term"), number("pid"))
    });
    members.collect()
}

pub fn leader(cluster: &Cluster) -> u16 {
    eventually("a leader", || {
        let leads = standing(cluster).iter().position(|(role, ..)| role == "leader")?;
        u16::try_from(leads + 1).ok()
    })
}

/// How long a client waits for its connection.
const CONNECT_TIME: Duration = Duration::from_secs(4);

/// The least number of descriptors that a member with very many clients must have left, for its
/// log, its peers and itself.
const FILES_LEFT: u64 = 100;

/// Many client connections take no descriptor that a peer needs: a member that is restarted
/// meanwhile is reached by the leader with these connections, and catches up.
#[test]
fn more_connections_than_descriptors_stop_no_member_and_block_no_peer() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let start = |id, more: &[&str]| {
        let more = PATIENT.iter().chain(more).map(|&flag| flag.to_owned());
        let flags = cluster.flags(id, "demo").into_iter().chain(more).collect::<Vec<_>>();
        Member::start_with_files(FILES, &flags)
    };
    let mut members: Vec<Member> = (1..=3).map(|id| start(id, &["--bootstrap"])).collect();
    assert_eq!(cluster.ask(&["put", "begun", "1", "--timeout", "20"]), "OK\n");
    let own = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: own.maximum, ..own }).expect("it may be raised");

    let leader = leader(&cluster);
    let address = cluster.client(leader);
    let address = address.parse().expect("an address");
    let connect = |_| {
        // Once the listener's queue is full, a connection would wait until idle ones are closed.
        let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIME).ok()?;
        // The server soon closes a connection without this preface.
        stream.write_all(&[PREFACE, EMPTY_SETTINGS].concat()).ok().map(|()| stream)
    };
    let crowd: Vec<TcpStream> = (0..FILES + 500).map_while(connect).collect();
    let other = leader % 3 + 1;
    // Dropping a member kills its process and waits for its end. The descriptors that this frees at
    // the leader go to the waiting clients, up to their limit, before the member starts again.
    let crowded = members[usize::from(leader) - 1].process.id();
    drop(members.remove(usize::from(other) - 1));
    let (mut known, mut looks) = (0, 0);
    eventually("the crowd has what it can get", || {
        let open = open_files(crowded);
        looks = if open == known { looks + 1 } else { 0 };
        known = open;
        (looks > 30).then_some(())
    });
    assert!(known > FILES / 2, "{known} files are open: the crowd is not connected");
    assert!(known + FILES_LEFT <= FILES, "the clients have taken {known} of {FILES} descriptors");
    members.push(start(other, &[]));
    let endpoint = cluster.client(other);
    eventually("the member that came back reads with the leader's help", || {
        let read = kontiki(&["get", "begun", "--endpoints", &endpoint, "--timeout", "2"]);
        read.status.success().then_some(())
    });
    drop(crowd);
    stop_all(members);
}

fn open_files(process: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count() as u64
}

#[tokio::test]
async fn many_reads_of_everything_depose_no_leader() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let members = cluster.start(&[&PATIENT[..], &["--bootstrap"]].concat());
    let address = format!("http://{}", cluster.client(leader(&cluster)));
    let mut client = KvClient::connect(address.clone()).await.expect("it listens");
    for first in (0..KEYS).step_by(128) {
        client.txn(puts(first)).await.expect("it is written");
    }
    let before = standing(&cluster);
    let readers = (0..READERS).map(|_| {
        let address = address.clone();
        tokio::spawn(async move {
            let client = KvClient::connect(address).await.expect("it listens");
            read_everything(client).await
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        assert_eq!(reader.await.expect("no panic"), KEYS);
    }
    assert_eq!(standing(&cluster), before, "roles, terms or processes have changed");
    stop_all(members);
}

fn puts(first: usize) -> TxnRequest {
    let put = |key| {
        let (key, value) = (format!("key/{key:08}").into(), vec![b'v'; 256].into());
        RequestOp {
            request: Some(Request::RequestPut(PutRequest { key, value, ..Default::default() })),
        }
    };
    let success = (first..KEYS.min(first + 128)).map(put).collect();
    TxnRequest { success, ..TxnRequest::default() }
}

/// Reads all keys; repeats the request when the member reports too many such requests.
async fn read_everything(client: KvClient<Channel>) -> usize {
    let mut client = client.max_decoding_message_size(usize::MAX);
    let everything =
        RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..RangeRequest::default() };
    loop {
        match client.range(everything.clone()).await {
            Ok(read) => return read.into_inner().kvs.len(),
            Err(refused) => assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}"),
        }
    }
}
