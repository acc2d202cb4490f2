//! What is refused, with a message that names the problem and the remedy.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::has_file_log;
use crate::tool::{failure, free_base_port, kontiki, text};
use crate::up::Up;

#[test]
fn the_memory_log_refuses_the_io_flag() {
    let refused = kontiki(&["up", "--backend", "memory", "--io", "ring"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("only the file log") && said.contains("--backend file"), "{said}");
}

#[test]
fn a_directory_in_use_is_named() {
    if !has_file_log() {
        println!("SKIPPED: the file log is not in this build");
        assert!(std::env::var("KONTIKI_REQUIRE").is_err(), "KONTIKI_REQUIRE requires this test");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (path, base) = (dir.path().display().to_string(), free_base_port());
    let first = Up::start("file", dir.path(), base);
    let own = format!("{path}/1");
    let member = format!("1=127.0.0.1:{},127.0.0.1:{}", base + 5, base + 6);
    let said =
        failure(&["serve", "--id", "1", "--cluster", "c", "--dir", &own, "--member", &member]);
    assert!(said.contains(&own) && said.contains("in use by another process"), "{said}");
    assert_eq!(first.stop(), Some(0));
}

#[test]
fn errors_name_the_problem_and_the_remedy() {
    let unknown = failure(&["up", "--backend", "flies"]);
    assert!(unknown.contains("'flies'") && unknown.contains("memory"), "{unknown}");
    let known = [("sqlite", cfg!(feature = "sqlite")), ("rocksdb", cfg!(feature = "rocksdb"))];
    for (known, _) in known.into_iter().filter(|(_, is_here)| !is_here) {
        let absent = failure(&["up", "--backend", known]);
        let command = format!("cargo run --release --features {known} -- up --backend {known}");
        assert!(absent.contains(&command), "{absent}");
        let absent = failure(&[
            "serve",
            "--id",
            "1",
            "--cluster",
            "c",
            "--backend",
            known,
            "--member",
            "1=127.0.0.1:1,127.0.0.1:2",
            "--listen-client",
            "127.0.0.1:0x",
        ]);
        assert!(absent.contains("host:port"), "{absent}");
    }
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("an address").to_string();
    // A busy machine may answer late once, but not five times in a row.
    let respected = (0..5).any(|_| {
        let begin = Instant::now();
        let asked = kontiki(&["status", "--endpoints", &silent, "--timeout", "0"]);
        assert_eq!(asked.status.code(), Some(1));
        begin.elapsed() < Duration::from_millis(900)
    });
    assert!(respected, "--timeout is respected; without it a second is waited");
    let absent = failure(&["get", "k", "--endpoints", "127.0.0.1:9", "--timeout", "1"]);
    assert!(absent.contains("127.0.0.1:9") && absent.contains("is the cluster up"), "{absent}");

    for usage in [&["up", "--nodes", "0"][..], &["fly"], &["put", "k"], &[]] {
        assert_eq!(kontiki(usage).status.code(), Some(2), "{usage:?}");
    }
    assert_eq!(kontiki(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_port_in_use_is_named() {
    let base = free_base_port();
    let _other = TcpListener::bind(("127.0.0.1", base + 11)).expect("it is free");
    let said = failure(&["up", "--backend", "memory", "--base-port", &base.to_string()]);
    let port = format!("port {}, where member 2 listens for peers", base + 11);
    assert!(said.contains(&port) && said.contains("--base-port"), "{said}");
}

#[test]
fn a_file_with_an_unknown_field_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("member.toml");
    let sound = "id = 1\ncluster = \"c\"\n";
    std::fs::write(&path, format!("{sound}heartbeat = 5\n")).expect("written");
    let path = path.display().to_string();
    let said = failure(&["serve", "--config", &path]);
    assert!(said.contains(&path) && said.contains("unknown field `heartbeat`"), "{said}");
}
