//! A member whose disk is full: it starts, reads with its leader's help, delays no other member,
//! and continues by itself once there is space.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::burdens::{PATIENT, leader};
use crate::members::{Cluster, Member, cluster, has_file_log, stop_all};
use crate::tool::{eventually, kontiki, text};

/// A small file system in memory, until it is dropped.
struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// `None` if this user may not mount one.
    fn mount(dir: &Path) -> Option<SmallDisk> {
        fs::create_dir(dir).expect("made");
        let small = ["-t", "tmpfs", "-o", "size=12m", "tmpfs"];
        let mounted = Command::new("mount").args(small).arg(dir).status();
        let is_mounted = mounted.is_ok_and(|status| status.success());
        is_mounted.then(|| SmallDisk { dir: dir.to_owned() })
    }

    fn filler(&self) -> PathBuf {
        self.dir.join("filler")
    }

    /// Leaves no space, not even for one page.
    fn fill(&self) {
        let mut file = fs::OpenOptions::new();
        let mut file = file.create(true).append(true).open(self.filler()).expect("it opens");
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.filler()).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.dir).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the small disk is unmounted");
    }
}

/// What went wrong: a member on a full disk did not start, and one whose disk filled up stopped.
#[test]
fn a_member_on_a_full_disk_starts_reads_and_continues_once_there_is_space() {
    if !has_file_log() {
        return;
    }
    survive_a_full_disk("file");
    if cfg!(feature = "sqlite") {
        survive_a_full_disk("sqlite");
    }
}

fn survive_a_full_disk(backend: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let start = |id, more: &[&str]| start(&cluster, backend, id, more);
    let mut members: Vec<Member> = (1..=3).map(|id| start(id, &["--bootstrap"])).collect();
    assert_eq!(cluster.ask(&["put", "a", "1", "--timeout", "20"]), "OK\n");
    // A follower, so that no election appends anything when it stops.
    let full = leader(&cluster) % 3 + 1;
    let place = usize::from(full) - 1;
    // A member that cannot store an entry cannot answer for it, so the others are asked to write.
    let others = [1, 2, 3].into_iter().filter(|id| *id != full).map(|id| cluster.client(id));
    let others = others.collect::<Vec<_>>().join(",");
    let put = |key: &str, value: &str| {
        let output = kontiki(&["put", key, value, "--endpoints", &others, "--timeout", "20"]);
        assert!(output.status.success(), "{key}: {}", text(&output.stderr));
    };
    assert_eq!(members.remove(place).stop(), Some(0));
    let own_dir = PathBuf::from(cluster.own_dir(full));
    let kept = dir.path().join("kept");
    fs::rename(&own_dir, &kept).expect("renamed");
    let Some(disk) = SmallDisk::mount(&own_dir) else {
        println!("SKIPPED: no small file system can be mounted here (it takes root)");
        return stop_all(members);
    };
    let copied = Command::new("cp").arg("-a").arg(kept.join(".")).arg(&own_dir).status();
    assert!(copied.is_ok_and(|status| status.success()), "copied");

    disk.fill();
    members.insert(place, start(full, &[]));
    members[place].wait_for("listening");
    let read_there = |key| {
        eventually("a read at the full member", || {
            let arguments = ["get", key, "--endpoints", &cluster.client(full), "--timeout", "2"];
            let read = kontiki(&arguments);
            read.status.success().then(|| String::from_utf8_lossy(&read.stdout).into_owned())
        })
    };
    assert_eq!(read_there("a"), "1\n");

    // The space that opening gave back is soon used up. The other members continue.
    let value = "v".repeat(100_000);
    let mut puts = 0;
    eventually("the disk is full", || {
        puts += 1;
        put(&format!("large {puts}"), &value);
        members[place].has_said("the disk is full: the log in").then_some(())
    });
    let said = members[place].wait_for("the disk is full: the log in");
    assert!(said.contains(&format!("on the file system at {}", own_dir.display())), "{said}");
    drop(members.remove(place));
    disk.fill();
    members.insert(place, start(full, &[]));
    members[place].wait_for("listening");
    put("last", "2");
    members[place].wait_for("the disk is full: the log in");

    disk.free();
    members[place].wait_for("there is space for the log again");
    assert_eq!(read_there("last"), "2\n");
    stop_all(members);
}

fn start(cluster: &Cluster, backend: &str, id: u16, more: &[&str]) -> Member {
    let backend = ["--backend", backend];
    let more = backend.iter().chain(&PATIENT).chain(more).map(|&flag| flag.to_owned());
    Member::start(&cluster.flags(id, "demo").into_iter().chain(more).collect::<Vec<_>>())
}
