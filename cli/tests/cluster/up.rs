//! A cluster that `kontiki up` runs.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::tool::{eventually, kontiki, ports, text};

/// A running `kontiki up`, which is killed if it still runs when it is dropped.
pub struct Up {
    pub process: Child,
    lines: Arc<Mutex<Vec<String>>>,
    pub base: u16,
    pub endpoints: String,
}

impl Up {
    pub fn start(backend: &str, dir: &Path, base: u16) -> Up {
        Up::start_with(&["--backend", backend], dir, base)
    }

    pub fn start_with(more: &[&str], dir: &Path, base: u16) -> Up {
        let mut process = Command::new(env!("CARGO_BIN_EXE_kontiki"))
            .args(["up", "--base-port", &base.to_string(), "--dir"])
            .arg(dir)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                println!("{line}");
                kept.lock().expect("not poisoned").push(line);
            }
        });
        let endpoints = [0, 10, 20].map(|step| format!("127.0.0.1:{}", base + step)).join(",");
        let up = Up { process, lines, base, endpoints };
        up.wait_for("the cluster is up");
        up
    }

    pub fn wait_for(&self, words: &str) -> String {
        eventually(words, || {
            let lines = self.lines.lock().expect("not poisoned");
            lines.iter().find(|line| line.contains(words)).cloned()
        })
    }

    pub fn count(&self, words: &str) -> usize {
        let lines = self.lines.lock().expect("not poisoned");
        lines.iter().filter(|line| line.contains(words)).count()
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        kontiki(&[arguments, &["--endpoints", &self.endpoints]].concat())
    }

    /// The output of a command that must succeed.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    pub fn members(&self) -> Vec<Value> {
        let output = self.run(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        status["members"].as_array().expect("a list").clone()
    }

    pub fn pid_of(&self, id: u64) -> u64 {
        eventually("the member answers", || self.members()[id as usize - 1]["pid"].as_u64())
    }

    pub fn leader(&self) -> u64 {
        eventually("a leader", || {
            let members = self.members();
            members.iter().find(|member| member["role"] == "leader")?["id"].as_u64()
        })
    }

    /// Sends it the stop signal, and returns its exit status.
    pub fn stop(mut self) -> Option<i32> {
        signal(self.process.id().into(), Signal::TERM);
        let status = eventually("it stops", || self.process.try_wait().expect("our child"));
        self.wait_for_free_ports();
        status.code()
    }

    pub fn wait_for_free_ports(&self) {
        eventually("all members have ended", || {
            let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
            ports(self.base).all(free).then_some(())
        });
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn signal(pid: u64, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a process");
    kill_process(pid, signal).expect("it runs");
}
