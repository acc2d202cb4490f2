//! Random requests over gRPC, which cover what `etcdctl` cannot send.
//!
//! A seed gives the same requests each time. The keys are few and close to each other, so that
//! spans, compares and transactions overlap. Each round continues with the key space of the one
//! before.

use std::collections::BTreeMap;

use bytes::Bytes;
use kontiki_etcd::api::etcdserverpb::compare::TargetUnion;
use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::api::etcdserverpb::range_request::SortTarget;
use kontiki_etcd::api::etcdserverpb::request_op::Request;
use kontiki_etcd::api::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse,
    RequestOp, ResponseHeader, TxnRequest,
};
use kontiki_etcd::api::mvccpb::KeyValue;
use tonic::transport::Channel;
use tonic::{Response, Status};

const KEYS: [&[u8]; 12] =
    [b"a", b"aa", b"ab", b"b", b"b\0", b"c", b"\0", b"\0\0", b"d/1", b"d/2", b"\xff", b"\xff\xff"];

/// Two servers that get the same requests.
pub struct Comparison {
    /// A connection to one member of etcd. The others may differ from it: in a cluster of etcd 3.4,
    /// all members but the one that the client asked run a part of a transaction that is refused
    /// for the revision of a range.
    theirs: KvClient<Channel>,
    /// A connection to each of our members, and the index of the one that gets requests at present.
    /// A serializable read at another one could be stale.
    ours: Vec<KvClient<Channel>>,
    member: usize,
    /// The newest revision seen, so that requests can name interesting ones.
    revision: i64,
    /// The number of answers of each kind, by the request's name and the refusal.
    seen: BTreeMap<String, u32>,
}

/// An answer as text, equal if two servers agree.
type Reply = Result<String, String>;

impl Comparison {
    /// Connects to both.
    pub async fn connect(theirs: &[String], ours: &[String]) -> Comparison {
        let theirs = connect(&theirs[..1]).await.remove(0);
        let ours = connect(ours).await;
        Comparison { theirs, ours, member: 0, revision: 1, seen: BTreeMap::new() }
    }

    /// Sends `count` random requests, and reads everything from time to time.
    pub async fn run(&mut self, seed: u64, count: usize) {
        let mut random = Random::new(seed);
        self.turn_to_next_member().await;
        for step in 0..count {
            let request = random.request(self.revision);
            self.compare(request, seed, step).await;
            if step % 50 == 0 {
                self.compare(Request::RequestRange(everything()).into(), seed, step).await;
            }
        }
    }

    /// Fills the key space with many keys that tie, and sorts them in every way.
    pub async fn run_sorts(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        self.turn_to_next_member().await;
        let all = DeleteRangeRequest { prev_kv: false, ..delete(b"\0", b"\0") };
        self.compare(Request::RequestDeleteRange(all).into(), seed, 0).await;
        let count = [13, 40, 60, 150, 260][random.below(5)];
        for step in 0..count {
            let operations = (0..1 + random.below(12)).map(|place| {
                let key = format!("k{}/{place}", random.below(count * 2));
                let value = format!("{}", random.below(1 + count / 5));
                put(key.as_bytes(), value.as_bytes())
            });
            let operations = operations.map(|put| operation(Request::RequestPut(put)));
            let txn = TxnRequest { success: operations.collect(), ..TxnRequest::default() };
            self.compare(Sent::Request(Request::RequestTxn(txn)), seed, step).await;
        }
        for sort_target in 0..5 {
            for sort_order in 0..3 {
                for limit in [0, 1, 5, 13, 100] {
                    let range = RangeRequest { sort_target, sort_order, limit, ..everything() };
                    self.compare_sorted(range, seed).await;
                }
            }
        }
    }

    /// Compares a sorted range, except for the order of keys that tie: no client may rely on it.
    async fn compare_sorted(&mut self, range: RangeRequest, seed: u64) {
        let theirs = self.theirs.range(range.clone()).await.expect("it can be read");
        let ours = self.ours[self.member].range(range.clone()).await.expect("it can be read");
        let (theirs, ours) = (theirs.into_inner(), ours.into_inner());
        let (theirs, ours) = (modulo_ties(&range, theirs), modulo_ties(&range, ours));
        assert_eq!(theirs, ours, "seed {seed}: etcd left, this server right\n{range:?}");
    }

    /// Checks that the random requests caused the refusals and the answers that they should cover.
    pub fn check_coverage(&self) {
        let wanted = [
            "Range ok",
            "Put ok",
            "DeleteRange ok",
            "Txn ok",
            "Compact ok",
            "Range etcdserver: mvcc: required revision has been compacted",
            "Range etcdserver: mvcc: required revision is a future revision",
            "Range etcdserver: key is not provided",
            "Put etcdserver: key not found",
            "Put etcdserver: value is provided",
            "Put etcdserver: lease is provided",
            "Put etcdserver: requested lease not found",
            "Txn etcdserver: duplicate key given in txn request",
            "Txn etcdserver: mvcc: required revision is a future revision",
            "Txn etcdserver: key not found",
            "Compact etcdserver: mvcc: required revision has been compacted",
            "Compact etcdserver: mvcc: required revision is a future revision",
        ];
        for wanted in wanted {
            assert!(self.seen.contains_key(wanted), "never seen: {wanted}; {:#?}", self.seen);
        }
    }

    /// Switches to another of our members, once it has caught up with the previous one.
    async fn turn_to_next_member(&mut self) {
        self.member = (self.member + 1) % self.ours.len();
        self.compare(Request::RequestRange(everything()).into(), 0, 0).await;
    }

    async fn compare(&mut self, sent: Sent, seed: u64, step: usize) {
        let (theirs, revision) = exchange(&mut self.theirs, sent.clone()).await;
        let (ours, _) = exchange(&mut self.ours[self.member], sent.clone()).await;
        assert_eq!(
            theirs, ours,
            "seed {seed}, step {step}: etcd left, this server right\n{sent:?}"
        );
        self.revision = self.revision.max(revision);
        let outcome = match &theirs {
            Ok(_) => "ok",
            Err(refusal) => refusal.split_once(": ").map_or("", |(_, text)| text),
        };
        *self.seen.entry(format!("{} {outcome}", sent.name())).or_default() += 1;
    }
}

async fn connect(endpoints: &[String]) -> Vec<KvClient<Channel>> {
    let mut clients = Vec::new();
    for endpoint in endpoints {
        let client = KvClient::connect(format!("http://{endpoint}")).await;
        clients.push(client.expect("the member is up").max_decoding_message_size(usize::MAX));
    }
    clients
}

#[derive(Clone, Debug)]
enum Sent {
    Request(Request),
    Compact(CompactionRequest),
}

impl From<Request> for Sent {
    fn from(request: Request) -> Sent {
        Sent::Request(request)
    }
}

impl Sent {
    fn name(&self) -> &'static str {
        match self {
            Sent::Request(Request::RequestRange(_)) => "Range",
            Sent::Request(Request::RequestPut(_)) => "Put",
            Sent::Request(Request::RequestDeleteRange(_)) => "DeleteRange",
            Sent::Request(Request::RequestTxn(_)) => "Txn",
            Sent::Compact(_) => "Compact",
        }
    }
}

/// Sends a request and returns the answer as text, with the revision in its header.
async fn exchange(client: &mut KvClient<Channel>, sent: Sent) -> (Reply, i64) {
    match sent {
        Sent::Request(Request::RequestRange(request)) => {
            in_words(client.range(request).await, |response| &mut response.header)
        }
        Sent::Request(Request::RequestPut(request)) => {
            in_words(client.put(request).await, |response| &mut response.header)
        }
        Sent::Request(Request::RequestDeleteRange(request)) => {
            in_words(client.delete_range(request).await, |response| &mut response.header)
        }
        Sent::Request(Request::RequestTxn(request)) => {
            in_words(client.txn(request).await, |response| &mut response.header)
        }
        Sent::Compact(request) => {
            in_words(client.compact(request).await, |response| &mut response.header)
        }
    }
}

fn in_words<R: std::fmt::Debug>(
    answer: Result<Response<R>, Status>,
    header: impl Fn(&mut R) -> &mut Option<ResponseHeader>,
) -> (Reply, i64) {
    match answer {
        Ok(response) => {
            let mut response = response.into_inner();
            let header = header(&mut response).as_mut().expect("an answer has a header");
            assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0);
            *header = ResponseHeader { revision: header.revision, ..ResponseHeader::default() };
            let revision = header.revision;
            (Ok(format!("{response:?}")), revision)
        }
        Err(status) => (Err(format!("{:?}: {}", status.code(), status.message())), 0),
    }
}

/// An answer in which keys that tie are in the order of the keys. If the answer leaves keys out,
/// those that tie with its last key are masked, because it is undefined which of them are returned.
fn modulo_ties(range: &RangeRequest, response: RangeResponse) -> (i64, bool, Vec<String>) {
    let sorted_by = |pair: &KeyValue| match SortTarget::try_from(range.sort_target) {
        Ok(SortTarget::Version) => format!("{:020}", pair.version),
        Ok(SortTarget::Create) => format!("{:020}", pair.create_revision),
        Ok(SortTarget::Mod) => format!("{:020}", pair.mod_revision),
        Ok(SortTarget::Value) => format!("{:?}", pair.value),
        Ok(SortTarget::Key) | Err(_) => format!("{:?}", pair.key),
    };
    let open = response.kvs.last().map(sorted_by).filter(|_| response.more);
    let mut pairs: Vec<_> = response.kvs.iter().map(|pair| (sorted_by(pair), pair)).collect();
    for ties in pairs.chunk_by_mut(|left, right| left.0 == right.0) {
        ties.sort_by(|left, right| left.1.key.cmp(&right.1.key));
    }
    let told = pairs
        .into_iter()
        .map(|(by, pair)| if open.as_ref() == Some(&by) { by } else { format!("{by}: {pair:?}") });
    (response.count, response.more, told.collect())
}

fn everything() -> RangeRequest {
    RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        ..RangeRequest::default()
    }
}

fn put(key: &[u8], value: &[u8]) -> PutRequest {
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    PutRequest { key, value, ..PutRequest::default() }
}

fn delete(key: &[u8], end: &[u8]) -> DeleteRangeRequest {
    let (key, range_end) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(end));
    DeleteRangeRequest { key, range_end, prev_kv: true }
}

fn operation(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn deletes(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|operation| match &operation.request {
        Some(Request::RequestDeleteRange(_)) => true,
        Some(Request::RequestTxn(inner)) => deletes(inner),
        _ => false,
    })
}

/// Changes puts so that none keeps a former value or lease: etcd's server panics if an earlier
/// operation of the transaction has deleted the key, so there is nothing to compare with.
fn put_anew(txn: &mut TxnRequest) {
    for operation in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut operation.request {
            Some(Request::RequestPut(put)) => {
                put.ignore_value = false;
                put.ignore_lease = false;
            }
            Some(Request::RequestTxn(inner)) => put_anew(inner),
            _ => {}
        }
    }
}

/// The source of requests: a seed gives the same ones each time.
struct Random {
    state: u64,
}

impl Random {
    fn new(seed: u64) -> Random {
        Random { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % bound
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn request(&mut self, newest: i64) -> Sent {
        match self.below(20) {
            0..7 => Request::RequestPut(self.put()).into(),
            7..12 => Request::RequestRange(self.range(newest)).into(),
            12..14 => Request::RequestDeleteRange(self.delete()).into(),
            14 if self.one_in(3) => Sent::Compact(self.compaction(newest)),
            _ => {
                let mut txn = self.txn(newest, 0);
                if deletes(&txn) {
                    put_anew(&mut txn);
                }
                Request::RequestTxn(txn).into()
            }
        }
    }

    fn key(&mut self) -> Bytes {
        if self.one_in(60) {
            return Bytes::new();
        }
        Bytes::from_static(KEYS[self.below(KEYS.len())])
    }

    fn range_end(&mut self) -> Bytes {
        match self.below(6) {
            0..3 => Bytes::new(),
            3 => Bytes::from_static(b"\0"),
            _ => self.key(),
        }
    }

    fn value(&mut self) -> Bytes {
        Bytes::from_static([&b""[..], b"1", b"2", b"10", b"\xfe\0x"][self.below(5)])
    }

    /// Mostly none; else old, recent, future or negative.
    fn revision(&mut self, newest: i64) -> i64 {
        match self.below(12) {
            0 => newest - self.below(8) as i64,
            1 => newest + self.below(3) as i64,
            2 => self.below(newest as usize + 3) as i64,
            3 if self.one_in(3) => -1 - self.below(3) as i64,
            _ => 0,
        }
    }

    fn put(&mut self) -> PutRequest {
        let ignore_value = self.one_in(8);
        PutRequest {
            key: self.key(),
            value: if ignore_value && !self.one_in(6) { Bytes::new() } else { self.value() },
            lease: if self.one_in(20) { 7 } else { 0 },
            prev_kv: self.one_in(3),
            ignore_value,
            ignore_lease: self.one_in(8),
        }
    }

    fn range(&mut self, newest: i64) -> RangeRequest {
        let filter = |random: &mut Random| match random.below(10) {
            0 => random.revision(newest),
            1 => newest - random.below(20) as i64,
            _ => 0,
        };
        RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            limit: [0, 0, 0, 1, 2, 3, 5, -1][self.below(8)],
            revision: self.revision(newest),
            // The protocol also allows relations and orders that do not exist.
            sort_order: [0, 0, 1, 2, 2, 9][self.below(6)],
            sort_target: [0, 0, 1, 2, 3, 4][self.below(6)],
            serializable: self.one_in(4),
            keys_only: self.one_in(5),
            count_only: self.one_in(8),
            min_mod_revision: filter(self),
            max_mod_revision: filter(self),
            min_create_revision: filter(self),
            max_create_revision: filter(self),
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let (key, range_end) = (self.key(), self.range_end());
        DeleteRangeRequest { key, range_end, prev_kv: self.one_in(2) }
    }

    fn compaction(&mut self, newest: i64) -> CompactionRequest {
        let revision = match self.below(8) {
            0 => newest + 1,
            1 => -1,
            2 => newest,
            _ => newest - self.below(60) as i64,
        };
        CompactionRequest { revision, physical: self.one_in(2) }
    }

    fn compare(&mut self) -> Compare {
        let number = [0, 0, 1, 2, 3, self.below(200) as i64][self.below(6)];
        let target = self.below(5) as i32;
        // Sometimes an operand of another kind than the target, or none.
        let operand = if self.one_in(8) { self.below(6) as i32 } else { target };
        Compare {
            result: [0, 1, 2, 3, 0, 1, 2, 3, 9][self.below(9)],
            target,
            key: self.key(),
            target_union: match operand {
                0 => Some(TargetUnion::Version(number)),
                1 => Some(TargetUnion::CreateRevision(number)),
                2 => Some(TargetUnion::ModRevision(number)),
                3 => Some(TargetUnion::Value(self.value())),
                4 => Some(TargetUnion::Lease(number)),
                _ => None,
            },
            range_end: if self.one_in(3) { self.range_end() } else { Bytes::new() },
        }
    }

    fn txn(&mut self, newest: i64, depth: usize) -> TxnRequest {
        let only_reads = depth == 0 && self.one_in(5);
        let compares = self.below(3);
        TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: self.operations(newest, depth, only_reads),
            failure: self.operations(newest, depth, only_reads),
        }
    }

    fn operations(&mut self, newest: i64, depth: usize, only_reads: bool) -> Vec<RequestOp> {
        let count = if self.one_in(4) { self.below(6) } else { self.below(3) };
        (0..count).map(|_| self.operation(newest, depth, only_reads)).collect()
    }

    fn operation(&mut self, newest: i64, depth: usize, only_reads: bool) -> RequestOp {
        if self.one_in(150) {
            return RequestOp { request: None };
        }
        match self.below(10) {
            kind if only_reads || kind < 3 => {
                operation(Request::RequestRange(self.range_in_txn(newest)))
            }
            3..6 => operation(Request::RequestPut(self.put())),
            6 | 7 => operation(Request::RequestDeleteRange(self.delete())),
            _ if depth < 3 => operation(Request::RequestTxn(self.txn(newest, depth + 1))),
            _ => operation(Request::RequestPut(self.put())),
        }
    }

    fn range_in_txn(&mut self, newest: i64) -> RangeRequest {
        let range = self.range(newest);
        // Most name no revision, or nearly every transaction would be refused.
        if self.one_in(3) { range } else { RangeRequest { revision: 0, ..range } }
    }
}
