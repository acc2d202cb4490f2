//! The disk alone: the cost of one durable write, without a log.
//!
//! Every durable figure is compared with the fastest of these, measured in turns with it. Which one
//! is the fastest differs between disks and is measured each time. [`RawFile`] is one file, laid
//! out and synced in one of several ways. [`Majority`] is one such file for each member of a
//! cluster, all written together; a commit needs more than half of them.

mod majority;
mod raw_file;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

pub use majority::Majority;
pub(crate) use raw_file::is_unsupported;
pub use raw_file::{Aligned, FILE_BYTES, Layout, RawFile, Verb};

/// The length of the files that several members write at the same time.
pub const MEMBER_FILE_BYTES: u64 = 16 << 20;

/// How often each verb is tried when the fastest one is chosen.
const TRIES: usize = 200;

/// The verb with the least median for small writes to a pre-written file in `dir`. The test file is
/// removed again.
pub fn fastest_verb(dir: &Path) -> io::Result<Verb> {
    let payload = Aligned::new(&[7; 256]);
    let mut found: Option<(Duration, Verb)> = None;
    for verb in Verb::ALL {
        let median = match median_of(dir, verb, &payload) {
            Ok(median) => median,
            Err(error) if is_unsupported(&error) => continue,
            Err(error) => return Err(error),
        };
        if found.is_none_or(|(least, _)| median < least) {
            found = Some((median, verb));
        }
    }
    found.map(|(_, verb)| verb).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

fn median_of(dir: &Path, verb: Verb, payload: &Aligned) -> io::Result<Duration> {
    let name = "fastest-verb";
    let took =
        RawFile::create(dir, name, Layout::Prewritten, verb, 1 << 20).and_then(|mut file| {
            let one = |_| {
                let began = Instant::now();
                file.write_and_sync(payload).map(|()| began.elapsed())
            };
            (0..TRIES).map(one).collect::<io::Result<Vec<Duration>>>()
        });
    std::fs::remove_file(dir.join(name))?;
    let mut took = took?;
    took.sort();
    Ok(took[TRIES / 2])
}

/// The name of a floor in a report.
pub fn label(layout: Layout, verb: Verb) -> String {
    format!("{} + {}", layout.name(), verb.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_verb_is_one_that_the_file_system_has() {
        let dir = tempfile::tempdir().expect("a directory");
        let verb = fastest_verb(dir.path()).expect("one works");
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0, "nothing is left");
        let file = RawFile::create(dir.path(), "again", Layout::Prewritten, verb, 1 << 20);
        file.and_then(|mut file| file.write_and_sync(&Aligned::new(b"bytes"))).expect("it works");
    }
}
