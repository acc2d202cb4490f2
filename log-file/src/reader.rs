//! Reads entries concurrently with the writer: finds their positions in the index, then reads the
//! disk.
//!
//! No lock is held while the disk is read. Meanwhile an entry may be purged, truncated, or
//! overwritten by the next use of its segment. So a failed check is damage only if the index still
//! has the entry at that position (P12).

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::storage::{LogError, LogErrorKind, LogOp, LogReader, ReadBudget};
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, Term};

use crate::disk::{Disk, DiskFile, read_up_to};
use crate::format::{RECORD_HEADER_BYTES, RecordHeader, RecordType, Seal};
use crate::index::{SharedIndex, Slot};
use crate::names::segment_name;

/// Records that lie no further apart than this are read with one call.
const GAP_BYTES: u64 = 4096;
/// The most that one call reads, unless a single record is larger.
const READ_BYTES: u64 = 4 << 20;

pub(crate) struct FileReader {
    disk: Arc<dyn Disk>,
    index: SharedIndex,
    /// The segment that was read last.
    open: Option<(Seal, Arc<dyn DiskFile>)>,
}

/// An entry to be read, and where it was according to the index.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Wanted {
    id: EntryId,
    seal: Seal,
    slot: Slot,
}

/// Why a run of records could not be read.
enum ReadFault {
    /// The bytes are not the record that was wanted.
    Damaged(Wanted),
    Io(std::io::Error, Seal),
}

impl FileReader {
    pub(crate) fn new(disk: Arc<dyn Disk>, index: SharedIndex) -> FileReader {
        FileReader { disk, index, open: None }
    }

    /// The positions of as many entries as fit.
    fn look_up(&self, range: &Range<LogIndex>, max_bytes: u64) -> Result<Vec<Wanted>, LogError> {
        let index = self.index.read().expect("no writer panics");
        index.summary.bounds().check_read(range)?;
        let (mut wanted, mut budget) = (Vec::new(), ReadBudget::new(max_bytes));
        let mut at = range.start;
        while at < range.end {
            let (seal, slot) = index.find(at);
            if !budget.takes(slot.payload_bytes()) {
                break;
            }
            wanted.push(Wanted { id: EntryId::new(index.summary.term(at)?, at), seal, slot });
            at = at.next();
        }
        Ok(wanted)
    }

    fn fetch(&mut self, wanted: &[Wanted]) -> Result<Vec<Entry>, ReadFault> {
        let mut entries = Vec::with_capacity(wanted.len());
        let mut rest = wanted;
        while !rest.is_empty() {
            let (run, after) = rest.split_at(run_length(rest));
            match self.fetch_run(run, &mut entries) {
                Ok(()) => rest = after,
                // The entries that were read before are sound (P10); the next read begins at the
                // fault.
                Err(ReadFault::Damaged(_)) if !entries.is_empty() => {
                    self.open = None;
                    return Ok(entries);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(entries)
    }

    /// Reads records that lie close together, with one call; the payloads share one buffer.
    fn fetch_run(&mut self, run: &[Wanted], entries: &mut Vec<Entry>) -> Result<(), ReadFault> {
        let seal = run[0].seal;
        let (start, end) = (run[0].slot.offset(), run[run.len() - 1].slot.end());
        let mut bytes = vec![0; (end - start) as usize];
        let read = self.segment(seal).and_then(|file| read_up_to(file, &mut bytes, start));
        let read = read.map_err(|error| ReadFault::Io(error, seal))?;
        bytes.truncate(read);
        let bytes = Bytes::from(bytes);
        for wanted in run {
            let offset = wanted.slot.offset();
            let record = bytes.get((offset - start) as usize..).unwrap_or_default();
            let entry = parse(record, wanted)
                .map(|(kind, payload)| Entry::new(wanted.id, kind, bytes.slice_ref(payload)));
            entries.push(entry.ok_or(ReadFault::Damaged(*wanted))?);
        }
        Ok(())
    }

    fn segment(&mut self, seal: Seal) -> std::io::Result<&dyn DiskFile> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != seal) {
            self.open = Some((seal, self.disk.open(&segment_name(seal.segment))?));
        }
        let (_, file) = self.open.as_ref().expect("just opened");
        Ok(file.as_ref())
    }

    /// The error for a fault according to the current index. `None`: look up and read again.
    fn judge(&mut self, fault: ReadFault, wanted: &[Wanted]) -> Result<Option<LogError>, LogError> {
        self.open = None;
        let index = self.index.read().expect("no writer panics");
        if index.is_closed() {
            return Err(LogError::io(LogOp::Read, std::io::Error::other("the store was closed")));
        }
        let (first, last) = (wanted[0].id.index, wanted[wanted.len() - 1].id.index);
        index.summary.bounds().check_inside(first, last)?;
        let moved = |wanted: &&Wanted| index.find(wanted.id.index) != (wanted.seal, wanted.slot);
        if wanted.iter().find(moved).is_some() {
            return Ok(None);
        }
        let place = |seal: Seal| self.disk.place(&segment_name(seal.segment));
        Ok(Some(match fault {
            ReadFault::Io(error, seal) => LogError::io(LogOp::Read, error).at(place(seal)),
            ReadFault::Damaged(Wanted { id, seal, slot }) => {
                let kind = LogErrorKind::Corrupt { index: Some(id.index) };
                let place = format!("{}, offset {}: {id}", place(seal), slot.offset());
                LogError::new(LogOp::Read, kind).at(place)
            }
        }))
    }
}

/// How many of the first records lie close enough together for one call.
fn run_length(wanted: &[Wanted]) -> usize {
    let start = wanted[0].slot.offset();
    let breaks = |pair: &[Wanted]| {
        let (one, next) = (pair[0].slot, pair[1].slot);
        pair[0].seal != pair[1].seal
            || next.offset() < one.end()
            || next.offset() - one.end() > GAP_BYTES
            || next.end() - start > READ_BYTES
    };
    wanted.windows(2).position(breaks).map_or(wanted.len(), |last| last + 1)
}

/// The kind and payload of the wanted entry, if these bytes begin with it.
fn parse<'a>(bytes: &'a [u8], wanted: &Wanted) -> Option<(EntryKind, &'a [u8])> {
    let header = RecordHeader::decode(wanted.seal, wanted.slot.offset(), bytes).ok()?;
    let length = wanted.slot.payload_bytes() as usize;
    let payload = bytes.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length)?;
    let is_wanted = header.record == RecordType::Entry
        && header.id == wanted.id
        && header.payload_bytes as usize == length
        && header.payload_hash == wanted.seal.payload_hash(payload);
    EntryKind::from_number(header.entry_kind).filter(|_| is_wanted).map(|kind| (kind, payload))
}

#[async_trait]
impl LogReader for FileReader {
    async fn read(
        &mut self,
        range: Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError> {
        loop {
            let wanted = self.look_up(&range, max_bytes)?;
            match self.fetch(&wanted) {
                Ok(entries) => return Ok(entries),
                Err(fault) => match self.judge(fault, &wanted)? {
                    Some(error) => return Err(error),
                    None => continue,
                },
            }
        }
    }

    async fn term(&mut self, index: LogIndex) -> Result<Term, LogError> {
        self.index.read().expect("no writer panics").summary.term(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;
    use crate::sim_disk::SimDisk;

    const SEAL: Seal = Seal { segment: 1, salt: 5 };

    fn at(index: u64) -> LogIndex {
        LogIndex::new(index)
    }

    fn push(index: &mut Index, of: u64, offset: u64) {
        index.push(EntryId::new(Term::new(1), at(of)), SEAL, Slot::new(offset, 8));
    }

    /// Looks entries 1 and 2 up, lets this happen to the index, and judges damage at entry 2.
    fn judged(happens: impl Fn(&mut Index)) -> Result<Option<LogErrorKind>, LogErrorKind> {
        let mut index = Index::default();
        push(&mut index, 1, 8192);
        push(&mut index, 2, 8256);
        let index: SharedIndex = Arc::new(std::sync::RwLock::new(index));
        let mut reader = FileReader::new(Arc::new(SimDisk::new(0)), index.clone());
        let wanted = reader.look_up(&(at(1)..at(3)), u64::MAX).expect("they are there");
        happens(&mut index.write().expect("not poisoned"));
        let judged = reader.judge(ReadFault::Damaged(wanted[1]), &wanted);
        judged.map(|error| error.map(|error| error.kind)).map_err(|error| error.kind)
    }

    /// A sound record at the place of the wanted one is taken only if it holds the wanted entry.
    #[test]
    fn a_record_of_another_entry_is_not_taken() {
        let wanted = |index, term| Wanted {
            id: EntryId::new(Term::new(term), at(index)),
            seal: SEAL,
            slot: Slot::new(8192, 5),
        };
        let record = |record, wanted: Wanted| {
            let entry_kind = EntryKind::Command.number();
            let payload_hash = SEAL.payload_hash(b"bytes");
            let (id, payload_bytes) = (wanted.id, 5);
            let header = RecordHeader { record, entry_kind, payload_bytes, id, payload_hash };
            [&header.encode(SEAL, 8192)[..], b"bytes"].concat()
        };
        let bytes = record(RecordType::Entry, wanted(2, 3));
        let taken = parse(&bytes, &wanted(2, 3)).map(|(_, payload)| payload);
        assert_eq!(taken, Some(&b"bytes"[..]));
        assert_eq!(parse(&bytes, &wanted(3, 3)), None, "another index");
        assert_eq!(parse(&bytes, &wanted(2, 4)), None, "another term");
        let longer = Wanted { slot: Slot::new(8192, 4), ..wanted(2, 3) };
        assert_eq!(parse(&bytes, &longer), None, "another length");
    }

    /// Between looking up and reading, the log may be truncated, written again, or closed (P12).
    #[test]
    fn damage_is_judged_by_the_index_as_it_is_after_the_read() {
        let corrupt = LogErrorKind::Corrupt { index: Some(at(2)) };
        assert_eq!(judged(|_| ()), Ok(Some(corrupt)), "nothing happened");
        let unavailable = LogErrorKind::Unavailable { last: at(1) };
        assert_eq!(judged(|index| index.truncate_after(at(1))), Err(unavailable));
        let rewritten = |index: &mut Index| {
            index.truncate_after(at(1));
            push(index, 2, 8320);
        };
        assert_eq!(judged(rewritten), Ok(None), "it is read again");
        assert_eq!(judged(Index::close), Err(LogErrorKind::Io));
    }
}
