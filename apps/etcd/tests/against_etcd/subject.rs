//! The server that is compared with etcd.
//!
//! By default it runs in the test itself, on a member without a cluster. If `KONTIKI_BIN` holds the
//! path of the tool `kontiki`, it is a cluster of three that the tool starts, and etcd gets as many
//! members.

use std::env;
use std::ffi::OsString;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;

use crate::oracle::wait_until_it_serves;
use crate::solo::Solo;

const TOOL: &str = "KONTIKI_BIN";

/// How many members each of the two has.
pub fn member_count() -> usize {
    if env::var_os(TOOL).is_some() { 3 } else { 1 }
}

/// The server; it is stopped when dropped.
pub enum Subject {
    /// In this process.
    Solo(Solo),
    /// In separate processes.
    Cluster(Cluster),
}

impl Subject {
    /// Starts it, with an empty key space.
    pub async fn start() -> Subject {
        match env::var_os(TOOL) {
            Some(tool) => Subject::Cluster(Cluster::start(tool).await),
            None => Subject::Solo(Solo::start().await),
        }
    }

    /// Where its members listen.
    pub fn endpoints(&self) -> Vec<String> {
        match self {
            Subject::Solo(solo) => vec![solo.endpoint().to_owned()],
            Subject::Cluster(cluster) => cluster.endpoints.clone(),
        }
    }
}

/// A cluster that the tool started.
pub struct Cluster {
    tool: Child,
    endpoints: Vec<String>,
    _directory: TempDir,
}

impl Cluster {
    async fn start(tool: OsString) -> Cluster {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let port = free_base_port();
        let tool = Command::new(tool)
            .args([
                "up",
                "--let-urls-in",
                "--nodes",
                "3",
                "--base-port",
                &port.to_string(),
                "--dir",
            ])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the tool starts");
        let endpoints: Vec<_> = (0..3).map(|n| format!("127.0.0.1:{}", port + 10 * n)).collect();
        let cluster = Cluster { tool, endpoints, _directory: directory };
        // The test has only just released the ports.
        sleep(Duration::from_millis(100)).await;
        for endpoint in &cluster.endpoints {
            wait_until_it_serves(endpoint).await;
        }
        cluster
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // As Ctrl-C does, so that the members are stopped too.
        let pid = self.tool.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let _ = self.tool.wait();
    }
}

/// A port such that it, the next one, and those 10 and 20 above them are free at the moment.
fn free_base_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let are_free = |base: &u16| [0, 1, 10, 11, 20, 21].iter().all(|more| is_free(base + more));
    // Tests that run at the same time try different ports.
    static SEARCHES: AtomicU16 = AtomicU16::new(0);
    let search = SEARCHES.fetch_add(1, Ordering::Relaxed);
    let start = 20_000 + (std::process::id() % 10_000) as u16 + 600 * (search % 20);
    (start..u16::MAX - 30).step_by(30).find(are_free).expect("there are free ports")
}
