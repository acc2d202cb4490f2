//! One file on one disk for each member of a cluster. Each file is written and synced by its
//! own thread, and all writes start together. A commit waits for more than half of them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::raw_file::Aligned;
use super::{Layout, MEMBER_FILE_BYTES, RawFile, Verb};

/// Ordinals and numbers up to the highest number of members that is measured, in words.
const NUMBERS: [&str; 9] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const ORDINALS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

/// A writer thread for each member. The threads end when this value is dropped.
#[derive(Debug)]
pub struct Majority {
    verb: Verb,
    writers: Vec<Sender<Arc<Aligned>>>,
    done: Receiver<io::Result<(Instant, Instant)>>,
    threads: Vec<JoinHandle<()>>,
}

impl Majority {
    /// Pre-written files in `dir` for this many members, at least one, each written with this verb.
    /// An error of the kind `Unsupported` or `InvalidInput` means that the file system does not
    /// support the verb.
    pub fn create(dir: &Path, members: u64, verb: Verb) -> io::Result<Majority> {
        let (ended, done) = channel();
        let (mut writers, mut threads) = (Vec::new(), Vec::new());
        for member in 1..=members.max(1) {
            let name = format!("member-{member}");
            let layout = Layout::Prewritten;
            let mut file = RawFile::create(dir, &name, layout, verb, MEMBER_FILE_BYTES)?;
            // An unsupported verb shows only at the first write.
            file.write_and_sync(&Aligned::new(&[0]))?;
            let (ask, asked) = channel();
            let ended = ended.clone();
            threads.push(thread::Builder::new().name(name).spawn(move || run(file, asked, ended))?);
            writers.push(ask);
        }
        Ok(Majority { verb, writers, done, threads })
    }

    /// The number of files.
    pub fn members(&self) -> u64 {
        self.writers.len() as u64
    }

    /// How the files are written.
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// The name in a report: which file a commit waits for, of how many, and the verb.
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

    /// Writes and syncs all files. Returns the time from the first start until more than half had
    /// finished; it returns after all have finished.
    pub fn write_and_sync(&self, payload: &Arc<Aligned>) -> io::Result<Duration> {
        for writer in &self.writers {
            writer.send(Arc::clone(payload)).map_err(|_| gone())?;
        }
        let wrote = |_: &Sender<_>| self.done.recv().map_err(|_| gone())?;
        Ok(until_majority(self.writers.iter().map(wrote).collect::<io::Result<_>>()?))
    }
}

/// The time from the first start until more than half had finished.
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
            // A thread that panicked has printed its message already.
            let _ = thread.join();
        }
    }
}

fn run(
    mut file: RawFile,
    asked: Receiver<Arc<Aligned>>,
    ended: Sender<io::Result<(Instant, Instant)>>,
) {
    while let Ok(payload) = asked.recv() {
        let began = Instant::now();
        let written = file.write_and_sync(&payload);
        if ended.send(written.map(|()| (began, Instant::now()))).is_err() {
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
            // The first byte was written when the verb was tried.
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
