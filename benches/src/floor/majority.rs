//! As many files on one disk as a cluster has members, each written and synced by a thread of its
//! own, all started together: a commit waits for more than half of them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::raw_file::Aligned;
use super::{Layout, MEMBER_FILE_BYTES, RawFile, Verb};

/// The numbers up to as many members as are measured, in words.
const NUMBERS: [&str; 9] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const ORDINALS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

/// A writer for each member. They end with this.
#[derive(Debug)]
pub struct Majority {
    verb: Verb,
    writers: Vec<Sender<Arc<Aligned>>>,
    done: Receiver<io::Result<(Instant, Instant)>>,
    threads: Vec<JoinHandle<()>>,
}

impl Majority {
    /// Pre-written files in `dir` for so many members, at least one, each written with this verb.
    /// An error of the kind `Unsupported` or `InvalidInput` says that the file system has no such
    /// verb.
    pub fn create(dir: &Path, members: u64, verb: Verb) -> io::Result<Majority> {
        let (tell, done) = channel();
        let (mut writers, mut threads) = (Vec::new(), Vec::new());
        for member in 1..=members.max(1) {
            let name = format!("member-{member}");
            let layout = Layout::Prewritten;
            let mut file = RawFile::create(dir, &name, layout, verb, MEMBER_FILE_BYTES)?;
            // A verb that is not there shows at the first write.
            file.write_and_sync(&Aligned::new(&[0]))?;
            let (ask, asked) = channel();
            let tell = tell.clone();
            threads.push(thread::Builder::new().name(name).spawn(move || run(file, asked, tell))?);
            writers.push(ask);
        }
        Ok(Majority { verb, writers, done, threads })
    }

    /// How many files there are.
    pub fn members(&self) -> u64 {
        self.writers.len() as u64
    }

    /// How its files are written.
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// What it is called in a report: the file that a commit waits for, of how many, and the verb.
    pub fn name(&self) -> String {
        let members = self.writers.len();
        let number =
            NUMBERS.get(members - 1).map_or(members.to_string(), |word| (*word).to_owned());
        let files = match (members, ORDINALS.get(members / 2)) {
            (1, _) => "one file".to_owned(),
            (_, Some(ordinal)) => format!("{ordinal} of {number} files"),
            (_, None) => format!("majority of {number} files"),
        };
        format!("{files}, {}", self.verb.name())
    }

    /// Has all of them write and sync; how long it took, from the first that began, until more than
    /// half had ended. Returns when all have.
    pub fn write_and_sync(&self, payload: &Arc<Aligned>) -> io::Result<Duration> {
        for writer in &self.writers {
            writer.send(Arc::clone(payload)).map_err(|_| gone())?;
        }
        let wrote = |_: &Sender<_>| self.done.recv().map_err(|_| gone())?;
        Ok(until_majority(self.writers.iter().map(wrote).collect::<io::Result<_>>()?))
    }
}

/// From the first that began until more than half had ended.
fn until_majority(wrote: Vec<(Instant, Instant)>) -> Duration {
    let (mut began, mut ended): (Vec<_>, Vec<_>) = wrote.into_iter().unzip();
    began.sort();
    ended.sort();
    ended[ended.len() / 2].saturating_duration_since(began[0])
}

impl Drop for Majority {
    fn drop(&mut self) {
        self.writers.clear();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn run(
    mut file: RawFile,
    asked: Receiver<Arc<Aligned>>,
    tell: Sender<io::Result<(Instant, Instant)>>,
) {
    while let Ok(payload) = asked.recv() {
        let began = Instant::now();
        let written = file.write_and_sync(&payload);
        if tell.send(written.map(|()| (began, Instant::now()))).is_err() {
            return;
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that writes has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrote(members: u64) -> (String, Duration) {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Majority::create(dir.path(), members, Verb::Fdatasync).expect("made");
        let took = files.write_and_sync(&Arc::new(Aligned::new(b"bytes"))).expect("written");
        let name = files.name();
        assert_eq!(files.members(), members);
        drop(files);
        for member in 1..=members {
            let bytes = std::fs::read(dir.path().join(format!("member-{member}"))).expect("there");
            // Behind the byte that tried the verb.
            assert_eq!(&bytes[1..6], b"bytes");
        }
        (name, took)
    }

    #[test]
    fn all_members_write_and_the_name_says_for_which_a_commit_waits() {
        for (members, name) in
            [(1, "one file, "), (2, "second of two files, "), (3, "second of three files, ")]
        {
            let (called, took) = wrote(members);
            assert_eq!(called, format!("{name}fdatasync"));
            assert!(took > Duration::ZERO);
        }
    }

    #[test]
    fn a_commit_waits_for_more_than_half() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let of = |ends: &[u64]| {
            until_majority(ends.iter().map(|end| (began, at(*end))).collect()).as_millis()
        };
        assert_eq!([of(&[7]), of(&[9, 7]), of(&[9, 1, 7])], [7, 9, 7]);
        assert_eq!([of(&[4, 3, 2, 1]), of(&[5, 4, 3, 2, 1])], [3, 3]);
    }
}
