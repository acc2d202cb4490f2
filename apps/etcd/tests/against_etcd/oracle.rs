//! A real etcd, started for one test.

use std::env;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kontiki_etcd::api::etcdserverpb::RangeRequest;
use kontiki_etcd::api::etcdserverpb::kv_client::KvClient;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The cluster; it is stopped and its directory removed when dropped.
pub struct Oracle {
    members: Vec<Child>,
    endpoints: Vec<String>,
    _directory: TempDir,
}

impl Oracle {
    /// Starts an etcd with this many members, or reports that there is none on this machine.
    pub async fn start(count: usize) -> Option<Oracle> {
        for program in ["etcd", "etcdctl"] {
            if !is_installed(program) {
                skip(program);
                return None;
            }
        }
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let addresses: Vec<_> = (0..count).map(|_| (free_address(), free_address())).collect();
        let peers = addresses.iter().enumerate();
        let peers: Vec<_> = peers.map(|(n, (_, peer))| format!("m{n}=http://{peer}")).collect();
        let members = addresses.iter().enumerate().map(|(number, (client, peer))| {
            let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
            Command::new("etcd")
                .args(["--name", &format!("m{number}"), "--data-dir"])
                .arg(directory.path().join(number.to_string()))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &peers.join(",")])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("etcd starts")
        });
        let members = members.collect();
        let endpoints: Vec<_> = addresses.into_iter().map(|(client, _)| client).collect();
        let oracle = Oracle { members, endpoints, _directory: directory };
        for endpoint in &oracle.endpoints {
            wait_until_it_serves(endpoint).await;
        }
        Some(oracle)
    }

    /// Where its members listen for clients.
    pub fn endpoints(&self) -> Vec<String> {
        self.endpoints.clone()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        for member in &mut self.members {
            // A member that has already ended cannot be stopped, which is fine.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

/// Waits until the member at this endpoint answers linearizable reads.
pub async fn wait_until_it_serves(endpoint: &str) {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Ok(mut client) = KvClient::connect(format!("http://{endpoint}")).await {
            let request = RangeRequest { key: "k".into(), ..RangeRequest::default() };
            if client.range(request).await.is_ok() {
                return;
            }
        }
        assert!(Instant::now() < deadline, "{endpoint} did not serve within {START_TIMEOUT:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// An address on the loopback device that no process listens on at the moment.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback device has a free port");
    listener.local_addr().expect("a bound listener has an address").to_string()
}

fn is_installed(program: &str) -> bool {
    let version = Command::new(program).arg("version").output();
    let version = version.is_ok_and(|output| output.status.success());
    version || Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success())
}

fn skip(program: &str) {
    let required = env::var("KONTIKI_REQUIRE").is_ok_and(|required| required == "all");
    assert!(!required, "{program} is not installed, and KONTIKI_REQUIRE=all asks for it");
    // The test runner would capture the output of println!.
    let line = format!("SKIPPED comparison with a real etcd: {program} is not installed\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
