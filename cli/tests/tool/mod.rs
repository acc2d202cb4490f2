//! Runs the tool as a user runs it.

use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A time limit longer than any step here needs, and shorter than the test runner's limit.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn kontiki(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_kontiki")).args(arguments).output();
    output.expect("the tool starts")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The error message of a command that must fail with status 1.
pub fn failure(arguments: &[&str]) -> String {
    let output = kontiki(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    let is_reported = said.lines().any(|line| line.starts_with("error: "));
    assert!(is_reported, "{arguments:?}: {said}");
    said
}

pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(50));
    }
}

/// The first port of a cluster of three whose six ports are free. Each test gets a different part
/// of the range below the system's ephemeral ports.
pub fn free_base_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16 % 100 * 100;
    eventually("six free ports", || {
        let base = 12000 + (start + NEXT.fetch_add(50, Ordering::Relaxed)) % 15000;
        ports(base).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()).then_some(base)
    })
}

pub fn ports(base: u16) -> impl Iterator<Item = u16> {
    (0..3).flat_map(move |member| [base + 10 * member, base + 10 * member + 1])
}
