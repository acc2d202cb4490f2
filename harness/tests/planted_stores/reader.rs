//! The reader of a planted store.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use raft_core::storage::{LogError, LogErrorKind, LogOp, LogReader, Refusal};
use raft_core::types::{Entry, LogIndex, Term};

use crate::bug::Bug;
use crate::state::{SharedState, check_inside, lock, term_of};

pub struct PlantedReader {
    pub stored: SharedState,
    pub bug: Option<Bug>,
    /// The entries that an older reader still shows, because of its bug.
    pub kept: Vec<Entry>,
    /// How often entries had been removed at its last read.
    pub cuts: u64,
    /// One of the reader slots, which a bug makes scarce.
    pub slot: Arc<()>,
}

/// How many references to the slot a bug allows. Each reader holds one, and so do the stored state
/// and its copies.
const FEW: usize = 35;

impl PlantedReader {
    fn range(&self, range: &Range<LogIndex>) -> Result<Range<LogIndex>, LogErrorKind> {
        let bounds = lock(&self.stored).bounds();
        match (check_inside(bounds, range), self.bug) {
            (Err(LogErrorKind::Unavailable { last }), Some(Bug::ReadIsSilentlyShort)) => {
                Ok(range.start..last.next().max(range.start))
            }
            (Err(LogErrorKind::Compacted { .. }), Some(Bug::PurgedReadsAsAbsent)) => {
                Err(LogErrorKind::Unavailable { last: bounds.last.index })
            }
            (Err(kind), _) => Err(kind),
            (Ok(()), _) => Ok(range.clone()),
        }
    }

    fn kept_at(&self, index: LogIndex) -> Option<&Entry> {
        let is_purged = index <= lock(&self.stored).bounds().boundary.index;
        self.kept.iter().find(|entry| is_purged && entry.id.index == index)
    }

    /// The term of the stored entry, or the term that this reader found there before.
    fn remembered(&mut self, index: LogIndex) -> Option<Term> {
        if self.bug != Some(Bug::OlderReaderKeepsTerms) {
            return None;
        }
        let stands = lock(&self.stored).entry(index).cloned()?;
        let known = self.kept.iter().find(|entry| entry.id.index == index).cloned();
        let entry = known.unwrap_or(stands);
        self.kept.push(entry.clone());
        Some(entry.id.term)
    }

    /// Entries of a range that were read before and, according to a bug, are still there.
    fn cached(&mut self, range: &Range<LogIndex>) -> Option<Vec<Entry>> {
        if self.bug != Some(Bug::OlderReaderMissesAReset) {
            return None;
        }
        let cuts = lock(&self.stored).cuts;
        if cuts != self.cuts {
            self.kept.clear();
            self.cuts = cuts;
        }
        let first = self.kept.iter().find(|entry| entry.id.index == range.start)?;
        Some(vec![first.clone()])
    }

    /// A term that was returned before, where there is no entry any more.
    fn gone_term(&self, index: LogIndex) -> Option<Term> {
        let stands = term_of(&lock(&self.stored), index).is_ok();
        let kept = self.kept.iter().find(|entry| entry.id.index == index)?;
        (self.bug == Some(Bug::OlderReaderReturnsRemovedTerms) && !stands).then_some(kept.id.term)
    }

    /// Reads the bounds, and does not read them again if the entry was removed in the meantime.
    fn term_in_two_looks(&self, index: LogIndex) -> Result<Term, LogErrorKind> {
        term_of(&lock(&self.stored), index)?;
        std::thread::yield_now();
        let found = term_of(&lock(&self.stored), index);
        found.map_err(|_| LogErrorKind::Corrupt { index: Some(index) })
    }

    fn gather(&self, range: Range<LogIndex>, max_bytes: u64) -> Result<Vec<Entry>, LogErrorKind> {
        let disk = lock(&self.stored);
        check_inside(disk.bounds(), &range).or_else(|kind| match self.bug {
            Some(Bug::RacingReaderReportsDamage) => Err(LogErrorKind::Corrupt { index: None }),
            Some(Bug::ReadIsSilentlyShort) => Ok(()),
            _ => Err(kind),
        })?;
        let mut found = Vec::new();
        let mut bytes = 0;
        for entry in disk.entries.iter().filter(|entry| range.contains(&entry.id.index)) {
            let mut entry = entry.clone();
            bytes += entry.size();
            if bytes > max_bytes {
                match self.bug {
                    Some(Bug::ReadIgnoresMaxBytes) => {}
                    Some(Bug::ReadSplitsAnEntry) => {
                        let room = max_bytes + entry.size() - bytes;
                        entry.payload.truncate(room as usize);
                        found.push(entry);
                        break;
                    }
                    Some(Bug::ReadOfNoBytesReturnsNothing) => break,
                    _ if !found.is_empty() => break,
                    _ => {}
                }
            }
            found.push(entry);
        }
        Ok(found)
    }
}

#[async_trait]
impl LogReader for PlantedReader {
    async fn read(
        &mut self,
        range: Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError> {
        let fail = |kind| LogError::new(LogOp::Read, kind);
        if range.end < range.start && self.bug != Some(Bug::ReadBackwardsIsEmpty) {
            return Err(LogError::refused(LogOp::Read, Refusal::InvertedRange));
        }
        if range.is_empty() {
            return Ok(Vec::new());
        }
        if self.bug == Some(Bug::ReaderSleepsThoughItNeverBlocks) {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        if self.bug == Some(Bug::AllocatesForAnyRange) {
            let room = range.end.get() - range.start.get();
            drop(Vec::<Entry>::with_capacity(room as usize));
        }
        if self.bug == Some(Bug::FewReaders) && Arc::strong_count(&self.slot) > FEW {
            return Err(LogError::io(LogOp::Read, "planted: no slot is left for a reader"));
        }
        if let Some(cached) = self.cached(&range) {
            return Ok(cached);
        }
        let keeps = matches!(
            self.bug,
            Some(
                Bug::OlderReaderKeepsPurged
                    | Bug::OlderReaderMissesAReset
                    | Bug::OlderReaderReturnsRemovedTerms
            )
        );
        let max_bytes = match self.bug {
            Some(Bug::MaxBytesOf32Bits) => u64::from(max_bytes as u32),
            _ => max_bytes,
        };
        let last = lock(&self.stored).bounds().last.index;
        let keeps_purged = self.bug == Some(Bug::OlderReaderKeepsPurged);
        if let (true, Some(kept)) = (keeps_purged && range.end <= last, self.kept_at(range.start)) {
            return Ok(vec![kept.clone()]);
        }
        if self.bug == Some(Bug::ReadOfTheLastEntryIsEmpty) && range.start == last {
            return Ok(Vec::new());
        }
        let range = self.range(&range).map_err(fail)?;
        // The log may change between the two reads.
        std::thread::yield_now();
        let found = self.gather(range, max_bytes).map_err(fail)?;
        if keeps {
            self.kept.extend_from_slice(&found);
        }
        Ok(found)
    }

    async fn term(&mut self, index: LogIndex) -> Result<Term, LogError> {
        if let Some(term) = self.remembered(index).or_else(|| self.gone_term(index)) {
            return Ok(term);
        }
        if self.bug == Some(Bug::RacingTermReportsDamage) {
            let found = self.term_in_two_looks(index);
            return found.map_err(|kind| LogError::new(LogOp::Read, kind));
        }
        let disk = lock(&self.stored);
        if self.bug == Some(Bug::TermOfTheBoundaryIsForgotten) && index == disk.boundary.index {
            return Ok(Term::ZERO);
        }
        term_of(&disk, index).map_err(|kind| LogError::new(LogOp::Read, kind))
    }

    fn may_block(&self) -> bool {
        self.bug != Some(Bug::ReaderSleepsThoughItNeverBlocks)
    }
}
