//! Three members, each in its own process.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kontiki_etcd::api::etcdserverpb::RangeRequest;
use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;

/// The number of members.
pub const MEMBERS: usize = 3;

/// The time limit for the cluster to answer after a start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A policy with which a snapshot is written most of the time, and the log is purged behind it.
const SNAPSHOTS: [&str; 4] = ["--snapshot-entries", "20", "--kept-entries", "10"];

/// The name of a snapshot that is being written begins like this.
const UNFINISHED: &str = "new.snap-";

/// A cluster, its files and its ports. Dropping it kills the processes that still run.
pub struct Cluster {
    dir: tempfile::TempDir,
    backend: String,
    client_ports: [u16; MEMBERS],
    peer_ports: [u16; MEMBERS],
    children: [Option<Child>; MEMBERS],
}

impl Cluster {
    /// Starts all members on free ports and waits until one leads.
    pub async fn start(backend: &str) -> Cluster {
        let [a, b, c, d, e, f] = free_ports();
        let mut cluster = Cluster {
            dir: tempfile::tempdir().expect("a directory"),
            backend: backend.to_owned(),
            client_ports: [a, b, c],
            peer_ports: [d, e, f],
            children: [None, None, None],
        };
        (0..MEMBERS).for_each(|member| cluster.start_member(member));
        cluster.wait_for_leader().await;
        cluster
    }

    /// The address at which a member serves clients.
    pub fn endpoint(&self, member: usize) -> String {
        format!("127.0.0.1:{}", self.client_ports[member])
    }

    /// Starts a member that is not running.
    pub fn start_member(&mut self, member: usize) {
        let log = self.dir.path().join(format!("{}.log", member + 1));
        let log = File::options().create(true).append(true).open(log).expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kontiki"));
        command
            // This has no effect on a log that is not empty; a member that was killed before its
            // log was initialized needs the flag again.
            .args(["serve", "--bootstrap", "--cluster", "rounds", "--backend", &self.backend])
            .args(SNAPSHOTS)
            .args(["--exit-with-parent", "--id", &(member + 1).to_string(), "--dir"])
            .arg(self.member_dir(member));
        for other in 0..MEMBERS {
            let (peer, client) = (self.peer_ports[other], self.client_ports[other]);
            command.arg("--member");
            command.arg(format!("{}=127.0.0.1:{peer},127.0.0.1:{client}", other + 1));
        }
        let errors = log.try_clone().expect("a second handle");
        command.stdin(Stdio::piped()).stdout(log).stderr(errors);
        self.children[member] = Some(command.spawn().expect("the tool runs"));
    }

    fn member_dir(&self, member: usize) -> PathBuf {
        self.dir.path().join((member + 1).to_string())
    }

    /// Kills a member with SIGKILL.
    pub fn kill(&mut self, member: usize) {
        let mut child = self.children[member].take().expect("it runs");
        if let Some(status) = child.try_wait().expect("a child") {
            panic!("member {} ended by itself ({status}):\n{}", member + 1, self.said(member));
        }
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Waits until a member writes a snapshot, at most for this long.
    pub async fn wait_for_unfinished_snapshot(&self, member: usize, patience: Duration) {
        let begin = Instant::now();
        while !self.has_unfinished_snapshot(member) && begin.elapsed() < patience {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    /// Whether a member's directory holds a snapshot that is not complete.
    pub fn has_unfinished_snapshot(&self, member: usize) -> bool {
        let Ok(files) = std::fs::read_dir(self.member_dir(member).join("snapshots")) else {
            return false;
        };
        let mut names = files.flatten().map(|file| file.file_name());
        names.any(|name| name.to_string_lossy().starts_with(UNFINISHED))
    }

    /// A member's printed output.
    pub fn said(&self, member: usize) -> String {
        let path = self.dir.path().join(format!("{}.log", member + 1));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// The member to kill in this round: the leader in two of three rounds, else a follower.
    pub async fn choose_victim(&self, round: usize) -> usize {
        let leader = self.wait_for_leader().await;
        if round % 3 < 2 { leader } else { (leader + 1 + round / 3 % 2) % MEMBERS }
    }

    async fn wait_for_leader(&self) -> usize {
        let endpoints: Vec<String> = (0..MEMBERS).map(|member| self.endpoint(member)).collect();
        let client = kontiki_etcd::Client::new(&endpoints).expect("good endpoints");
        let began = Instant::now();
        while began.elapsed() < START_LIMIT {
            for (member, answer) in client.status().await.into_iter().enumerate() {
                if answer.status.is_ok_and(|status| status.role == "leader") {
                    return member;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no member leads; member 1 said:\n{}", self.said(0));
    }

    /// All pairs with a prefix, from a linearizable read at a member.
    pub async fn read_all(&self, member: usize, prefix: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let began = Instant::now();
        loop {
            match self.try_read_all(member, prefix).await {
                Ok(pairs) => return pairs,
                Err(error) if began.elapsed() > START_LIMIT => {
                    panic!("member {} does not answer: {error}\n{}", member + 1, self.said(member));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn try_read_all(
        &self,
        member: usize,
        prefix: &str,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Box<dyn std::error::Error>> {
        let client = KvClient::connect(format!("http://{}", self.endpoint(member))).await?;
        let mut client = client.max_decoding_message_size(usize::MAX);
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().expect("a prefix") += 1;
        let request = RangeRequest {
            key: prefix.as_bytes().to_vec().into(),
            range_end: end.into(),
            ..RangeRequest::default()
        };
        let answer = client.range(request).await?.into_inner();
        Ok(answer.kvs.into_iter().map(|pair| (pair.key.to_vec(), pair.value.to_vec())).collect())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Ports that are free at the moment.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    std::array::from_fn(|at| listeners[at].local_addr().expect("bound").port())
}
