//! Members that are started one by one with `kontiki serve`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::tool::{eventually, free_base_port, kontiki, text};

/// A running member; it is killed when it is dropped.
pub struct Member {
    pub process: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Member {
    pub fn start(arguments: &[String]) -> Member {
        Member::spawn(Command::new(env!("CARGO_BIN_EXE_kontiki")), arguments)
    }

    /// Starts it with a limit on open files.
    pub fn start_with_files(files: u64, arguments: &[String]) -> Member {
        let mut shell = Command::new("sh");
        let limit = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        shell.args(["-c", &limit, env!("CARGO_BIN_EXE_kontiki")]);
        Member::spawn(shell, arguments)
    }

    fn spawn(mut command: Command, arguments: &[String]) -> Member {
        let mut process = command
            .arg("serve")
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        let output = BufReader::new(process.stderr.take().expect("a pipe"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                println!("{line}");
                kept.lock().expect("not poisoned").push(line);
            }
        });
        Member { process, lines }
    }

    pub fn wait_for(&self, words: &str) -> String {
        eventually(words, || self.find(words))
    }

    pub fn has_said(&self, words: &str) -> bool {
        self.find(words).is_some()
    }

    fn find(&self, words: &str) -> Option<String> {
        let lines = self.lines.lock().expect("not poisoned");
        lines.iter().find(|line| line.contains(words)).cloned()
    }

    /// Waits until it ends by itself; returns the exit status.
    pub fn ended(mut self) -> Option<i32> {
        eventually("it ends", || self.process.try_wait().expect("our child")).code()
    }

    pub fn stop(mut self) -> Option<i32> {
        let pid = Pid::from_raw(self.process.id() as i32).expect("a process");
        kill_process(pid, Signal::TERM).expect("it runs");
        eventually("it stops", || self.process.try_wait().expect("our child")).code()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Three members on this machine; their ports follow a base port.
pub struct Cluster {
    dir: PathBuf,
    base: u16,
}

impl Cluster {
    pub fn client(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.base + 10 * (id - 1))
    }

    pub fn peer(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.base + 10 * (id - 1) + 1)
    }

    pub fn endpoints(&self) -> String {
        [1, 2, 3].map(|id| self.client(id)).join(",")
    }

    /// The flags of a node that joins; its ports follow those of the first three.
    pub fn joining(&self, id: u16, endpoints: &str) -> Vec<String> {
        let (dir, client, peer) = (self.own_dir(id), self.client(id), self.peer(id));
        let flags = ["--join", endpoints, "--dir", &dir, "--listen-client", &client];
        flags.iter().chain(&["--listen-peer", &peer]).map(|&flag| flag.to_owned()).collect()
    }

    pub fn own_dir(&self, id: u16) -> String {
        self.dir.join(id.to_string()).display().to_string()
    }

    /// The flags for this member's identity and directory, and all members' addresses.
    pub fn flags(&self, id: u16, cluster: &str) -> Vec<String> {
        let mut flags: Vec<String> =
            ["--id", &id.to_string(), "--cluster", cluster, "--dir", &self.own_dir(id)]
                .map(str::to_owned)
                .to_vec();
        for other in 1..=3 {
            let peer = self.base + 10 * (other - 1) + 1;
            let member = format!("{other}=127.0.0.1:{peer},{}", self.client(other));
            flags.extend(["--member".to_owned(), member]);
        }
        flags
    }

    pub fn start(&self, more: &[&str]) -> Vec<Member> {
        let start = |id| {
            let more = more.iter().map(|&flag| flag.to_owned());
            Member::start(&self.flags(id, "demo").into_iter().chain(more).collect::<Vec<_>>())
        };
        (1..=3).map(start).collect()
    }

    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = kontiki(&[arguments, &["--endpoints", &self.endpoints()]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

pub fn stop_all(members: Vec<Member>) {
    for member in members {
        assert_eq!(member.stop(), Some(0));
    }
}

/// Whether this build has the backend of the members' logs.
pub fn has_file_log() -> bool {
    let required = std::env::var("KONTIKI_REQUIRE").is_ok();
    assert!(cfg!(feature = "file") || !required, "KONTIKI_REQUIRE requires the file log");
    cfg!(feature = "file")
}

pub fn cluster(dir: &Path) -> Cluster {
    Cluster { dir: dir.to_owned(), base: free_base_port() }
}
