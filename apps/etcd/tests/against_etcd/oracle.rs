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

/// The server; it is stopped and its directory removed when dropped.
pub struct Oracle {
    server: Child,
    endpoint: String,
    _directory: TempDir,
}

impl Oracle {
    /// Starts an etcd with one member, or says that there is none on this machine.
    pub async fn start() -> Option<Oracle> {
        for program in ["etcd", "etcdctl"] {
            if !is_installed(program) {
                skip(program);
                return None;
            }
        }
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let (client, peer) = (free_address(), free_address());
        let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
        let server = Command::new("etcd")
            .arg("--data-dir")
            .arg(directory.path())
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts");
        let oracle = Oracle { server, endpoint: client, _directory: directory };
        oracle.wait_until_it_serves().await;
        Some(oracle)
    }

    /// Where it listens for clients.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn wait_until_it_serves(&self) {
        let deadline = Instant::now() + START_TIMEOUT;
        let url = format!("http://{}", self.endpoint);
        loop {
            if let Ok(mut client) = KvClient::connect(url.clone()).await {
                let request = RangeRequest { key: "k".into(), ..RangeRequest::default() };
                if client.range(request).await.is_ok() {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "etcd did not serve within {START_TIMEOUT:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // If it has ended by itself, there is nothing left to stop.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// An address on the loopback device that nobody listens on at the moment.
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
    // Not println!, which the test runner swallows.
    let line = format!("SKIPPED comparison with a real etcd: {program} is not installed\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
