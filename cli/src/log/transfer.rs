//! Copies one log into another: writes it batch by batch through the store's own methods, then
//! reads the copy back and compares it with the source, entry by entry. A copy for another cluster
//! has another identity and hard state, and the same entries.

use kontiki::LogConfig;
use kontiki::storage::{Inspect, Inspection, LogError, LogReader, Store, WriteBatch};
use kontiki::types::{EntryId, HardState, Identity, LogIndex};

use super::place::open_failure;
use super::progress::Progress;
use crate::failure::{Failure, chain};

/// The bytes of payload that are read, and written, as one batch.
const BATCH_BYTES: u64 = 4 << 20;

/// What a copy holds besides entries.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The member that the copy belongs to.
    pub identity: Option<Identity>,
    /// Its term and vote.
    pub hard_state: HardState,
}

impl Owner {
    /// The member that the source belongs to.
    pub fn of(source: &dyn Inspect) -> Owner {
        let Inspection { identity, recovered, .. } = source.result();
        Owner { identity: *identity, hard_state: recovered.hard_state }
    }
}

/// Copies an inspected log into a new log of a backend, and verifies the copy.
pub async fn transfer(
    source: &dyn Inspect,
    owner: Owner,
    config: &LogConfig,
    what: &str,
) -> Result<(), Failure> {
    let mut log = config.open().map_err(|error| open_failure(&error))?;
    write(source, owner, log.as_mut(), what).await?;
    drop(log);
    let copy = config.inspect().map_err(|error| open_failure(&error))?;
    compare(source, owner, copy.as_ref(), what).await
}

async fn write(
    source: &dyn Inspect,
    owner: Owner,
    log: &mut dyn Store,
    what: &str,
) -> Result<(), Failure> {
    let Inspection { recovered, .. } = source.result();
    if let Some(identity) = &owner.identity {
        log.save_identity(identity).await.map_err(unwritten)?;
    }
    let bounds = recovered.bounds;
    let first = WriteBatch {
        hard_state: Some(owner.hard_state),
        reset: (bounds.boundary != EntryId::ZERO).then_some(bounds.boundary),
        ..WriteBatch::default()
    };
    log.write(first).await.map_err(unwritten)?;
    let progress = Progress::new(format!("copying {what}"));
    let (mut reader, mut next) = (source.reader(), bounds.first());
    let end = bounds.last.index.next();
    while next < end {
        progress.show(next.since(bounds.first()), end.since(bounds.first()));
        let entries = reader.read(next..end, BATCH_BYTES).await.map_err(unread)?;
        next = next.plus(entries.len() as u64);
        let hint = Some(recovered.commit_hint.min(next.prev()));
        let batch = WriteBatch { commit_hint: hint, ..WriteBatch::of_entries(entries) };
        log.write(batch).await.map_err(unwritten)?;
    }
    log.close().await.map_err(unwritten)
}

/// The failure for a copy that cannot be written.
pub fn unwritten(error: LogError) -> Failure {
    Failure::new(format!("the copy cannot be written: {}", chain(&error)))
        .advise("check the disk of the target: its space, its permissions, its health")
}

fn unread(error: LogError) -> Failure {
    Failure::new(format!("the source cannot be read: {}", chain(&error))).advise(
        "a damaged log is not copied: the copy would look complete. `kontiki log verify` finds \
         all of the damage",
    )
}

async fn compare(
    source: &dyn Inspect,
    owner: Owner,
    copy: &dyn Inspect,
    what: &str,
) -> Result<(), Failure> {
    let (one, other) = (source.result(), copy.result());
    if let Some(damage) = &other.damage {
        return Err(unequal(&chain(damage)));
    }
    let facts = |inspection: &Inspection| {
        let found = &inspection.recovered;
        let (runs, members) = (found.term_runs.clone(), found.memberships.clone());
        (found.bounds, runs, members)
    };
    let copied = (other.identity, other.recovered.hard_state);
    if facts(one) != facts(other) || copied != (owner.identity, owner.hard_state) {
        return Err(unequal("its identity, hard state, bounds, terms or members differ"));
    }
    let bounds = one.recovered.bounds;
    let (first, end) = (bounds.first(), bounds.last.index.next());
    let progress = Progress::new(format!("verifying {what}"));
    let (mut ours, mut theirs) = (source.reader(), copy.reader());
    let mut next = first;
    while next < end {
        progress.show(next.since(first), end.since(first));
        next = compare_some(ours.as_mut(), theirs.as_mut(), next, end).await?;
    }
    Ok(())
}

/// Compares some entries from an index on. Returns the index after the last compared entry.
async fn compare_some(
    ours: &mut dyn LogReader,
    theirs: &mut dyn LogReader,
    from: LogIndex,
    end: LogIndex,
) -> Result<LogIndex, Failure> {
    let failed = |error: LogError| unequal(&chain(&error));
    let wanted = ours.read(from..end, BATCH_BYTES).await.map_err(unread)?;
    let upto = from.plus(wanted.len() as u64);
    let mut at = from;
    while at < upto {
        let found = theirs.read(at..upto, BATCH_BYTES).await.map_err(failed)?;
        let same = wanted[at.since(from) as usize..].iter().zip(&found).take_while(|(a, b)| a == b);
        let same = same.count();
        if same < found.len() || found.is_empty() {
            return Err(unequal(&format!("entry {} differs", at.plus(same as u64))));
        }
        at = at.plus(same as u64);
    }
    Ok(upto)
}

fn unequal(why: &str) -> Failure {
    Failure::new(format!("the copy differs from the source: {why}"))
        .advise("the target was not created; check the disks of both directories")
}

#[cfg(all(test, feature = "file"))]
mod tests {
    use std::path::Path;

    use kontiki::types::{Entry, EntryKind, Term};

    use super::*;

    fn entry(index: u64, payload: &'static str) -> Entry {
        let id = EntryId::new(Term::new(1), LogIndex::new(index));
        Entry::new(id, EntryKind::Command, payload.into())
    }

    async fn a_log(dir: &Path, payload: &'static str) -> Box<dyn Inspect> {
        let config = LogConfig::from_name("file", dir).expect("compiled in");
        let mut log = config.open().expect("a new log");
        let entries = vec![entry(1, "one"), entry(2, payload)];
        log.write(WriteBatch::of_entries(entries)).await.expect("sound");
        log.close().await.expect("closes");
        drop(log);
        config.inspect().expect("there is a log")
    }

    #[tokio::test]
    async fn a_copy_that_differs_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = a_log(&dir.path().join("a"), "two").await;
        let same = a_log(&dir.path().join("b"), "two").await;
        let other = a_log(&dir.path().join("c"), "2").await;
        let owner = Owner::of(log.as_ref());
        assert_eq!(compare(log.as_ref(), owner, same.as_ref(), "").await, Ok(()));
        let failure = compare(log.as_ref(), owner, other.as_ref(), "").await.expect_err("another");
        assert!(failure.to_string().contains("entry 2 differs"), "{failure}");
        let voted = HardState { term: Term::new(3), vote: None };
        let owner = Owner { hard_state: voted, ..owner };
        let failure = compare(log.as_ref(), owner, same.as_ref(), "").await.expect_err("another");
        assert!(failure.to_string().contains("hard state"), "{failure}");
    }
}
