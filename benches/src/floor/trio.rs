//! Three files on one disk, each written and synced by a thread of its own, started together.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::raw_file::Aligned;
use super::{Layout, RawFile, Verb};

/// Three writers. They end with this.
#[derive(Debug)]
pub struct Trio {
    writers: Vec<Sender<Arc<Aligned>>>,
    done: Receiver<io::Result<(Instant, Instant)>>,
    threads: Vec<JoinHandle<()>>,
}

impl Trio {
    /// Three pre-written files in `dir`.
    pub fn create(dir: &Path) -> io::Result<Trio> {
        let (tell, done) = channel();
        let (mut writers, mut threads) = (Vec::new(), Vec::new());
        for place in 0..3 {
            let name = format!("trio-{place}");
            let file = RawFile::create(dir, &name, Layout::Prewritten, Verb::Fdatasync)?;
            let (ask, asked) = channel();
            let tell = tell.clone();
            threads.push(thread::Builder::new().name(name).spawn(move || run(file, asked, tell))?);
            writers.push(ask);
        }
        Ok(Trio { writers, done, threads })
    }

    /// Has all three write and sync; how long it took, from the first that began, until the second
    /// had ended. Returns when all have.
    pub fn write_and_sync(&self, payload: &Arc<Aligned>) -> io::Result<Duration> {
        for writer in &self.writers {
            writer.send(Arc::clone(payload)).map_err(|_| gone())?;
        }
        let (mut began, mut ended) = (Vec::new(), Vec::new());
        for _ in &self.writers {
            let (began_at, ended_at) = self.done.recv().map_err(|_| gone())??;
            began.push(began_at);
            ended.push(ended_at);
        }
        began.sort();
        ended.sort();
        Ok(ended[1].saturating_duration_since(began[0]))
    }
}

impl Drop for Trio {
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

    #[test]
    fn all_three_write() {
        let dir = tempfile::tempdir().expect("a directory");
        let trio = Trio::create(dir.path()).expect("made");
        let took = trio.write_and_sync(&Arc::new(Aligned::new(b"bytes"))).expect("written");
        assert!(took > Duration::ZERO);
        drop(trio);
        for place in 0..3 {
            let bytes = std::fs::read(dir.path().join(format!("trio-{place}"))).expect("there");
            assert_eq!(&bytes[..5], b"bytes");
        }
    }
}
