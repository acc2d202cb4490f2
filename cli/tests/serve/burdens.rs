//! What clients may do to a running cluster without stopping it: very many connections, very large
//! reads.

use std::io::Write;
use std::net::TcpStream;

use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::api::etcdserverpb::request_op::Request;
use kontiki_etcd::api::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tonic::Code;
use tonic::transport::Channel;

use crate::members::{Cluster, Member, cluster, has_file_log, stop_all};
use crate::tool::{eventually, kontiki};

/// How many files a member may have open in the first test: what most shells give.
const FILES: u64 = 1024;

/// What an HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Keys in the second test, and readers of all of them at once.
const KEYS: usize = 100_000;
const READERS: usize = 60;

/// So patient that a busy machine deposes no leader by itself; a read that kept the member's thread
/// until its answer was ready would still do it.
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

/// The crowd takes no descriptor that a peer needs: a member that is started again meanwhile is
/// reached by the crowded leader, and catches up.
#[test]
fn more_connections_than_descriptors_stop_no_member_and_keep_out_no_peer() {
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
    let connect = |_| {
        let mut stream = TcpStream::connect(&address).ok()?;
        // One that says nothing would be closed before long.
        stream.write_all(&[PREFACE, EMPTY_SETTINGS].concat()).ok().map(|()| stream)
    };
    let crowd: Vec<TcpStream> = (0..FILES + 500).filter_map(connect).collect();
    assert!(crowd.len() > 1000, "only {} connections came about", crowd.len());
    let other = leader % 3 + 1;
    // Dropping kills it, and waits until it is gone. What that gives back at the leader goes to the
    // crowd, as far as it may have it, before the member comes again.
    let crowded = members[usize::from(leader) - 1].process.id();
    drop(members.remove(usize::from(other) - 1));
    let (mut known, mut looks) = (0, 0);
    eventually("the crowd has what it can get", || {
        let open = open_files(crowded);
        looks = if open == known { looks + 1 } else { 0 };
        known = open;
        (looks > 30).then_some(())
    });
    members.push(start(other, &[]));
    let endpoint = cluster.client(other);
    eventually("the member that came back reads with the leader's help", || {
        let read = kontiki(&["get", "begun", "--endpoints", &endpoint, "--timeout", "2"]);
        read.status.success().then_some(())
    });
    drop(crowd);
    stop_all(members);
}

fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count()
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

/// Reads all keys; a member that has too many such requests is asked again, as it says.
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
