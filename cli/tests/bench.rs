//! `kontiki bench` as its users run it: the JSON, the HTML page, the refusals, and the files left.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

fn kontiki(dir: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kontiki"));
    command.arg("bench").args(line.split_whitespace()).current_dir(dir);
    command
}

fn run(dir: &TempDir, line: &str) -> Output {
    kontiki(dir.path(), line).output().expect("it runs")
}

/// The names of the files in the directory.
fn left_in(dir: &TempDir) -> Vec<String> {
    let files = std::fs::read_dir(dir.path()).expect("it is there");
    let name = |file: std::io::Result<std::fs::DirEntry>| {
        file.expect("readable").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = files.map(name).collect();
    names.sort();
    names
}

fn json(dir: &TempDir, line: &str) -> Value {
    let output = run(dir, line);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON and nothing else")
}

#[test]
fn a_log_is_measured_and_the_figures_are_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let report = json(&dir, "log --fresh --seconds 0.1 --clients 1,4 --json - --html page.html");
    let rows = report["rows"].as_array().expect("rows");
    for name in ["work", "backend", "size", "batch", "clients", "p50_us", "p99_us", "per_second"] {
        assert!(rows.iter().all(|row| !row[name].is_null()), "{name}: {report}");
    }
    let durable = rows.iter().filter(|row| row["durability"] == "power loss");
    assert!(durable.clone().all(|row| row["ratio"].is_f64() && row["floor_p50_us"].is_f64()));
    let others = rows.iter().filter(|row| row["durability"] != "power loss");
    assert!(others.clone().all(|row| row["ratio"].is_null() && row["floor_p50_us"].is_null()));
    assert!(durable.count() + others.count() > 0);
    assert_eq!(left_in(&dir), ["page.html"], "nothing else is left");
}

#[test]
fn a_commit_is_measured_in_one_process_and_in_three() {
    let dir = tempfile::tempdir().expect("a directory");
    for (line, work) in [
        ("commit --seconds 0.1 --clients 2 --json -", "commit"),
        ("commit --seconds 0.1 --rate 200 --json -", "commit"),
        ("commit --processes --seconds 0.1 --clients 2 --json -", "etcd"),
    ] {
        let report = json(&dir, line);
        let rows = report["rows"].as_array().expect("rows");
        assert!(!rows.is_empty() && rows.iter().all(|row| row["work"] == work), "{report}");
        let answered = |row: &Value| row["per_second"].as_f64().is_some_and(|rate| rate > 0.0);
        assert!(rows.iter().all(answered), "{report}");
    }
    assert_eq!(left_in(&dir), [""; 0], "no data of members is left");
}

#[test]
fn the_table_ends_with_a_recommendation_or_the_reason_for_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = run(&dir, "log --fresh --seconds 0.1 --clients 1");
    let text = String::from_utf8(output.stdout).expect("text");
    for words in ["p50 us", "max", "x floor", "entries/s", "load average"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // So short a run may or may not have enough samples; it never shows both answers.
    let is_thin = text.contains("rows have fewer rounds or samples");
    assert_eq!(text.contains("no log is recommended"), is_thin, "{text}");
    assert_eq!(text.contains("=> take"), cfg!(feature = "file") && !is_thin, "{text}");
}

#[test]
fn a_wrong_argument_is_refused_with_advice() {
    let dir = tempfile::tempdir().expect("a directory");
    for (line, says, code) in [
        ("log --backend rockdb", "'rockdb'", 1),
        ("log --dir no/such/dir --backend all", "--dir", 1),
        ("log --json no/such/dir/file", "no/such/dir", 1),
        ("log --size 1x", "64k", 2),
        ("log --size 9m", "--size", 2),
        ("log --clients 0", "--clients", 2),
        ("log --batch 0", "--batch", 2),
        ("log --rate 0", "--rate", 2),
        ("log --seconds 0", "--seconds", 2),
        ("commit --members 10", "--members", 2),
        ("etcd --endpoints a:1 --connections 0", "--connections", 2),
        ("etcd --endpoints 127.0.0.1:1", "127.0.0.1:1", 1),
    ] {
        let output = run(&dir, line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(said.contains(says), "{line}: {said}");
    }
    assert_eq!(left_in(&dir), [""; 0]);
}

#[test]
fn an_interrupted_run_is_marked_everywhere_and_recommends_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    // With a second for each number of clients, the whole run would take a quarter of an hour.
    let clients: Vec<String> = (1..=1000).map(|clients| clients.to_string()).collect();
    let line = "log --fresh --backend memory --seconds 1000 --json out.json --html out.html";
    let mut command = kontiki(dir.path(), &format!("{line} --clients {}", clients.join(",")));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let pid = Pid::from_raw(child.id() as i32).expect("a process has an id");
    // Each number of clients has its own directory: when the second directory exists, the first
    // number has been measured.
    let (began, mut first) = (Instant::now(), None);
    while began.elapsed() < Duration::from_secs(60) {
        let now = work_dir_in(dir.path());
        if first.is_some() && now.is_some() && now != first {
            break;
        }
        first = first.or(now);
        std::thread::sleep(Duration::from_millis(10));
    }
    kill_process(pid, Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let (said, text) = (String::from_utf8_lossy(&output.stderr), text_of(&output.stdout));
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(text.contains("warning: interrupted") && !text.contains("=> take"), "{text}");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect("it is there");
    let report: Value = serde_json::from_str(&read("out.json")).expect("JSON");
    assert_eq!(report["interrupted"], true);
    assert!(read("out.html").contains("Warning: interrupted"));
}

#[test]
fn a_soak_is_measured_over_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let line = "log --soak --fresh --backend memory --seconds 0.5 --interval 0.1 --json -";
    let report = json(&dir, &format!("{line} --html page.html"));
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!((rows.len(), &rows[0]["work"]), (1, &Value::from("soak")));
    let intervals = rows[0]["intervals"].as_array().expect("intervals");
    assert!((1..=6).contains(&intervals.len()), "{intervals:?}");
    for name in ["end_s", "per_second", "p50_us", "p99_us", "max_us", "log_bytes", "rss_bytes"] {
        assert!(intervals.iter().all(|one| one[name].is_number()), "{name}: {intervals:?}");
    }
    let page = std::fs::read_to_string(dir.path().join("page.html")).expect("it is there");
    assert!(page.contains("Over time") && page.contains(": throughput</text>"));
    assert_eq!(left_in(&dir), ["page.html"], "nothing else is left");
}

#[test]
fn an_interrupted_soak_keeps_what_was_measured() {
    let dir = tempfile::tempdir().expect("a directory");
    // One interval would take a day: what there is was measured in a part of it.
    let line = "log --soak --fresh --backend memory --seconds 500000 --interval 86400";
    let mut command = kontiki(dir.path(), &format!("{line} --json out.json"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let began = Instant::now();
    while work_dir_in(dir.path()).is_none() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = Pid::from_raw(child.id() as i32).expect("a process has an id");
    kill_process(pid, Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let (said, text) = (text_of(&output.stderr), text_of(&output.stdout));
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(text.contains("warning: interrupted") && text.contains("process MiB"), "{text}");
    let json = std::fs::read_to_string(dir.path().join("out.json")).expect("it is there");
    let report: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(report["interrupted"], true);
    let intervals = report["rows"][0]["intervals"].as_array().expect("intervals");
    assert_eq!(intervals.len(), 1, "{intervals:?}");
    assert_eq!(left_in(&dir), ["out.json"], "no data is left");
}

/// The directory that the measurement currently writes to.
fn work_dir_in(dir: &Path) -> Option<std::path::PathBuf> {
    let only = |dir: &Path| Some(std::fs::read_dir(dir).ok()?.next()?.ok()?.path());
    only(&only(dir).filter(|path| path.is_dir())?)
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The processor time that a process has used, in hundredths of a second.
fn processor_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let times = after_name.split(' ').skip(11).take(2);
    times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// Waits until something is so; it fails after a minute.
fn wait_until(line: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{line}: it takes too long");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A measurement that is ended by Ctrl-C once it is as wanted. It must end soon, and leave nothing.
fn end_by_ctrl_c(line: &str, is_as_wanted: impl Fn(&Path, u32) -> bool) {
    let dir = tempfile::tempdir().expect("a directory");
    // So long that filling the log, or the first warm-up, would take an hour.
    let mut command = kontiki(dir.path(), &format!("{line} --seconds 500000 --size 64"));
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Ends(quiet.spawn().expect("it runs"));
    wait_until(line, || is_as_wanted(dir.path(), child.0.id()));
    assert_eq!(left_in(&dir).len(), 1, "{line}: it measures in its own directory");
    let pid = Pid::from_raw(child.0.id() as i32).expect("a process has an id");
    kill_process(pid, Signal::INT).expect("it runs");
    let asked = Instant::now();
    while child.0.try_wait().expect("it is ours").is_none() {
        assert!(asked.elapsed() < Duration::from_secs(60), "{line}: it continues after Ctrl-C");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(left_in(&dir), [""; 0], "{line}");
}

/// A process that is killed if it still runs when this is dropped.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What went unnoticed: the signal came before the clients, so nothing had to end them. Without a
/// durable log there is no floor to prepare, and almost all processor time is that of the clients.
#[test]
#[cfg(target_os = "linux")]
fn ctrl_c_ends_the_clients_of_a_measurement() {
    for line in ["log --fresh", "commit", "commit --rate 5000", "commit --processes"] {
        end_by_ctrl_c(&format!("{line} --backend memory"), |_, pid| processor_time(pid) > 150);
    }
}

#[test]
fn ctrl_c_ends_a_preparation_and_leaves_no_files() {
    let has_a_file = |dir: &Path, _| work_dir_in(dir).is_some_and(|dir| is_in_use(&dir));
    for line in ["log", "commit", "commit --processes"] {
        end_by_ctrl_c(line, has_a_file);
    }
}

fn is_in_use(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some())
}
