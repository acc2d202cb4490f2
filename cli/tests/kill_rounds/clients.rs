//! Clients that write and read through all members, and record the outcomes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::checks::linearizable::{Action, Operation};
use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;
use kontiki_etcd::api::etcdserverpb::{PutRequest, RangeRequest};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use crate::cluster::{Cluster, MEMBERS};

/// The number of clients at each member.
const CLIENTS_PER_MEMBER: usize = 2;

/// The number of keys that all clients share.
const SHARED_KEYS: u64 = 4;

/// The time after which a client gives up a request, whose outcome is then unknown.
const REQUEST_LIMIT: Duration = Duration::from_millis(1500);

/// The pause between two requests of a client.
const PAUSE: Duration = Duration::from_millis(4);

/// The outcomes that the clients recorded.
pub struct Record {
    began: Instant,
    /// Reads and writes of the shared keys.
    pub history: Vec<(String, Operation<Option<String>>)>,
    /// Acknowledged writes of keys that are written only once.
    pub acknowledged: Vec<(String, String)>,
    /// Writes whose outcome is not known.
    pub unknown: usize,
}

impl Record {
    fn new() -> Record {
        let began = Instant::now();
        Record { began, history: Vec::new(), acknowledged: Vec::new(), unknown: 0 }
    }

    /// Adds what one read of all shared keys, which began at this time, has found.
    pub fn note_shared(&mut self, began: Instant, found: &BTreeMap<Vec<u8>, Vec<u8>>) {
        let invoked = (began - self.began).as_nanos() as u64;
        let returned = Some(self.began.elapsed().as_nanos() as u64);
        for key in (0..SHARED_KEYS).map(shared_key) {
            let value = found.get(key.as_bytes());
            let value = value.map(|value| String::from_utf8_lossy(value).into_owned());
            let client = u64::MAX;
            let operation = Operation { client, invoked, returned, action: Action::Read(value) };
            self.history.push((key, operation));
        }
    }
}

/// The key with this number that all clients share.
fn shared_key(number: u64) -> String {
    format!("shared/{number}")
}

/// The running clients.
pub struct Clients {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    began: Instant,
    record: Mutex<Record>,
    writes: AtomicUsize,
    stopping: AtomicBool,
}

impl Clients {
    /// Starts clients at all members.
    pub fn start(cluster: &Cluster) -> Clients {
        let record = Record::new();
        let shared = Arc::new(Shared {
            began: record.began,
            record: Mutex::new(record),
            writes: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let number = 0..(MEMBERS * CLIENTS_PER_MEMBER) as u64;
        let start = |number| {
            let endpoint = format!("http://{}", cluster.endpoint(number as usize % MEMBERS));
            let endpoint = Endpoint::from_shared(endpoint).expect("an address");
            let client = Client {
                number,
                count: 0,
                kv: KvClient::new(endpoint.connect_lazy()),
                shared: Arc::clone(&shared),
            };
            tokio::spawn(client.run())
        };
        let tasks = number.map(start).collect();
        Clients { shared, tasks }
    }

    /// Waits until this many writes that were invoked from now on are acknowledged. Returns how
    /// long that took.
    pub async fn wait_for_writes(&self, count: usize, limit: Duration) -> Duration {
        // A write that was invoked before now may be acknowledged after it. There are few clients,
        // so a larger count of acknowledgements includes some that were invoked from now on.
        let slack = if count == 1 { MEMBERS * CLIENTS_PER_MEMBER } else { 0 };
        let (began, from) = (Instant::now(), self.shared.writes.load(Ordering::Relaxed));
        while self.shared.writes.load(Ordering::Relaxed) < from + count + slack {
            assert!(began.elapsed() < limit, "no write was served for {limit:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        began.elapsed()
    }

    /// Stops the clients and returns their record.
    pub async fn stop(self) -> Record {
        self.shared.stopping.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a client does not panic");
        }
        let mut record = self.shared.record.lock().expect("no client panicked");
        let empty = Record { began: record.began, ..Record::new() };
        std::mem::replace(&mut record, empty)
    }
}

struct Client {
    number: u64,
    count: u64,
    kv: KvClient<Channel>,
    shared: Arc<Shared>,
}

impl Client {
    async fn run(mut self) {
        while !self.shared.stopping.load(Ordering::Relaxed) {
            self.count += 1;
            let key = shared_key((self.number + self.count / 3) % SHARED_KEYS);
            let done = match self.count % 3 {
                0 => self.write_own().await,
                1 => self.write_shared(key).await,
                _ => self.read_shared(key).await,
            };
            // A member that is down refuses at once; a pause avoids thousands of such requests.
            let pause = if done { PAUSE } else { 10 * PAUSE };
            tokio::time::sleep(pause).await;
        }
    }

    fn now(&self) -> u64 {
        self.shared.began.elapsed().as_nanos() as u64
    }

    async fn put(&mut self, key: &str, value: &str) -> bool {
        let request = PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..PutRequest::default()
        };
        let answer = tokio::time::timeout(REQUEST_LIMIT, self.kv.put(request)).await;
        let acknowledged = matches!(answer, Ok(Ok(_)));
        if acknowledged {
            self.shared.writes.fetch_add(1, Ordering::Relaxed);
        }
        acknowledged
    }

    /// Writes a key that only this client writes, and only once.
    async fn write_own(&mut self) -> bool {
        let (key, value) = (format!("own/{}/{}", self.number, self.count), self.count.to_string());
        let acknowledged = self.put(&key, &value).await;
        let mut record = self.shared.record.lock().expect("no client panicked");
        if acknowledged {
            record.acknowledged.push((key, value))
        } else {
            record.unknown += 1
        }
        acknowledged
    }

    /// Writes a unique value to a key that other clients write and read too.
    async fn write_shared(&mut self, key: String) -> bool {
        let value = format!("{}-{}", self.number, self.count);
        let invoked = self.now();
        let acknowledged = self.put(&key, &value).await;
        let returned = acknowledged.then(|| self.now());
        self.note(key, invoked, returned, Action::Write(Some(value)));
        acknowledged
    }

    async fn read_shared(&mut self, key: String) -> bool {
        let request = RangeRequest { key: key.clone().into(), ..RangeRequest::default() };
        let invoked = self.now();
        let answer = tokio::time::timeout(REQUEST_LIMIT, self.kv.range(request)).await;
        let Ok(Ok(answer)) = answer else { return false };
        let pair = answer.into_inner().kvs.into_iter().next();
        let value = pair.map(|pair| String::from_utf8_lossy(&pair.value).into_owned());
        let returned = Some(self.now());
        self.note(key, invoked, returned, Action::Read(value));
        true
    }

    fn note(
        &self,
        key: String,
        invoked: u64,
        returned: Option<u64>,
        action: Action<Option<String>>,
    ) {
        let operation = Operation { client: self.number, invoked, returned, action };
        let mut record = self.shared.record.lock().expect("no client panicked");
        record.unknown += usize::from(returned.is_none());
        record.history.push((key, operation));
    }
}
