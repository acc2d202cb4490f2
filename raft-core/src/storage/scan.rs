//! The default recovery: a store's log is read once, from its first entry to its last.

use super::{LogBounds, LogError, LogErrorKind, LogOp, LogReader, LogSummary, Recovered, Tail};
use crate::types::{HardState, LogIndex};

/// How many bytes of payload are read at once.
const SCAN_BYTES: u64 = 1 << 20;

/// Reads a whole log once, and returns what it holds. The commit hint is zero. Entries that do not
/// follow each other from the boundary to the last one are damage.
pub(super) async fn scan(
    log: &mut dyn LogReader,
    bounds: LogBounds,
    hard_state: HardState,
) -> Result<Recovered, LogError> {
    let mut summary = LogSummary::empty(bounds.boundary);
    let (mut next, end) = (bounds.first(), bounds.last.index.next());
    while next < end {
        let entries = log.read(next..end, SCAN_BYTES).await?;
        if entries.is_empty() {
            // A bug of the store (P10); without an error here this loop would never end.
            let cause = "a read of a range that is not empty returned no entry";
            return Err(LogError::io(LogOp::Read, cause));
        }
        for entry in &entries {
            summary.push_checked(entry)?;
        }
        next = summary.bounds().last.index.next();
    }
    if summary.bounds() != bounds {
        let kind = LogErrorKind::Corrupt { index: Some(bounds.last.index) };
        return Err(LogError::new(LogOp::Open, kind).because("the log ends with a different entry"));
    }
    summary.recovered(hard_state, LogIndex::ZERO, Tail::Clean)
}

#[cfg(test)]
mod tests {
    use core::ops::Range;
    use core::task::{Context, Poll, Waker};

    use alloc::boxed::Box;
    use alloc::vec::Vec;
    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::types::{Entry, EntryId, EntryKind, Term, TermRun};

    /// A reader that returns these entries, two at a time, whatever the range is.
    struct Gives(Vec<Entry>);

    #[async_trait]
    impl LogReader for Gives {
        async fn read(&mut self, _: Range<LogIndex>, _: u64) -> Result<Vec<Entry>, LogError> {
            Ok(self.0.drain(..self.0.len().min(2)).collect())
        }

        async fn term(&mut self, _: LogIndex) -> Result<Term, LogError> {
            unreachable!("a scan reads entries")
        }
    }

    fn id((index, term): (u64, u64)) -> EntryId {
        EntryId::new(Term::new(term), LogIndex::new(index))
    }

    /// Scans a log from 3@1 to 6@2 whose reader returns entries with these ids.
    fn scan_of(ids: &[(u64, u64)]) -> Result<Recovered, LogErrorKind> {
        let entry = |at| Entry::new(id(at), EntryKind::Command, Bytes::new());
        let mut log = Gives(ids.iter().copied().map(entry).collect());
        let bounds = LogBounds { boundary: id((3, 1)), last: id((6, 2)) };
        let mut scanned = Box::pin(scan(&mut log, bounds, HardState::default()));
        match scanned.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(scanned) => scanned.map_err(|error| error.kind),
            Poll::Pending => unreachable!("the reader never waits"),
        }
    }

    #[test]
    fn a_scan_returns_what_a_log_holds() {
        let found = scan_of(&[(4, 1), (5, 2), (6, 2)]).expect("sound");
        let run = |first, term| TermRun { first: LogIndex::new(first), term: Term::new(term) };
        assert_eq!(found.term_runs, [run(4, 1), run(5, 2)]);
    }

    #[test]
    fn a_scan_names_the_entry_that_does_not_follow() {
        let damaged = |index| Err(LogErrorKind::Corrupt { index: Some(LogIndex::new(index)) });
        assert_eq!(scan_of(&[(4, 1), (6, 2)]), damaged(5), "a gap");
        assert_eq!(scan_of(&[(4, 2), (5, 1), (6, 2)]), damaged(5), "a falling term");
        assert_eq!(scan_of(&[(4, 0), (5, 1), (6, 2)]), damaged(4), "below the boundary's term");
        assert_eq!(scan_of(&[(5, 1), (6, 2)]), damaged(4), "a gap after the boundary");
        assert_eq!(scan_of(&[(4, 1), (5, 1), (6, 1)]), damaged(6), "another last entry");
        assert_eq!(scan_of(&[(4, 1), (5, 1), (6, 2), (7, 2)]), damaged(6), "one more");
        assert_eq!(scan_of(&[(4, 1)]), Err(LogErrorKind::Io), "no more entries");
    }
}
