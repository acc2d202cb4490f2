//! Applies the frames of the stream, in order, to an empty log; this is the main part of opening a
//! log.
//!
//! A frame that passes its checksums but does not fit the stream (a gap, a checkpoint that
//! contradicts earlier frames) is damage, too, and is reported as such.

use bytes::Bytes;
use raft_core::storage::record::{Unreadable, decode_hard_state, decode_identity};
use raft_core::storage::{LogError, LogErrorKind, LogOp};
use raft_core::types::{EntryId, EntryKind, LogIndex};

use crate::facts::{Checkpoint, Facts};
use crate::format::{Position, RecordHeader, RecordType};
use crate::index::{Index, Slot};
use crate::scan::{Frame, SegmentScan};

/// The log up to the last replayed frame.
#[derive(Default)]
pub(crate) struct Replay {
    pub(crate) index: Index,
    pub(crate) facts: Facts,
    /// The number of the last frame.
    pub(crate) number: u64,
    /// Where the last frame ends.
    pub(crate) end: Position,
    /// Whether the last frame is a clean close.
    pub(crate) is_closed: bool,
    /// The boundary that the records give. If the entries after the boundary lie in removed
    /// segments, the index begins later; a later purge must account for that.
    boundary: EntryId,
    is_begun: bool,
}

/// Why a frame cannot be applied.
pub(crate) enum ReplayFault {
    /// Its bytes are damaged; the message says in which way.
    Damaged(&'static str),
    /// A newer version wrote it; names the unknown value.
    Newer(&'static str),
    /// It could not be read.
    Read(std::io::Error),
}

impl ReplayFault {
    /// The fault of a payload whose checksum holds; `damaged` if it does not parse.
    fn of(fault: Unreadable, damaged: &'static str) -> ReplayFault {
        match fault {
            Unreadable::Damaged => ReplayFault::Damaged(damaged),
            Unreadable::Newer(what) => ReplayFault::Newer(what),
        }
    }
}

impl From<std::io::Error> for ReplayFault {
    fn from(error: std::io::Error) -> ReplayFault {
        ReplayFault::Read(error)
    }
}

type Applied = Result<(), ReplayFault>;

fn inconsistent(what: &'static str) -> Applied {
    Err(ReplayFault::Damaged(what))
}

impl Replay {
    /// The first entry that a damaged place may concern.
    pub(crate) fn next_index(&self) -> LogIndex {
        self.index.last().index.next()
    }

    pub(crate) fn apply(&mut self, scan: &mut SegmentScan, frame: &Frame) -> Applied {
        if self.is_begun && frame.header.number != self.number + 1 {
            return inconsistent("a frame is missing before it");
        }
        for (record, payload_offset) in &frame.records {
            self.apply_record(scan, record, *payload_offset)?;
        }
        if !self.is_begun && scan.seal().segment != 1 {
            return inconsistent("the segments before it are missing");
        }
        self.is_begun = true;
        // The first builds also wrote hints beyond the last entry.
        let hint = self.facts.commit_hint.max(frame.header.commit_hint);
        self.facts.commit_hint = hint.min(self.index.last().index);
        self.number = frame.header.number;
        self.end = Position::new(scan.seal().segment, frame.end());
        self.is_closed = frame.header.is_close;
        Ok(())
    }

    fn apply_record(&mut self, scan: &mut SegmentScan, record: &RecordHeader, at: u64) -> Applied {
        match record.record {
            RecordType::Entry => self.apply_entry(scan, record, at),
            RecordType::Checkpoint => {
                let payload = sound_payload(scan, record, at)?;
                match Checkpoint::decode(&payload) {
                    Ok(checkpoint) => self.apply_checkpoint(record.id, checkpoint),
                    Err(fault) => Err(ReplayFault::of(fault, "its checkpoint does not parse")),
                }
            }
            RecordType::HardState => {
                let payload = sound_payload(scan, record, at)?;
                let what = "its hard state is not valid";
                let hard_state = decode_hard_state(&payload);
                let hard_state = hard_state.map_err(|error| ReplayFault::of(error.into(), what))?;
                if !self.facts.hard_state.may_become(hard_state) {
                    return inconsistent(what);
                }
                self.facts.hard_state = hard_state;
                Ok(())
            }
            RecordType::Identity => {
                let payload = sound_payload(scan, record, at)?;
                let what = "its identity does not parse";
                let identity = decode_identity(&payload);
                let identity = identity.map_err(|error| ReplayFault::of(error.into(), what))?;
                self.facts.identity = Some(identity);
                Ok(())
            }
            RecordType::Reset => {
                self.facts.commit_hint = LogIndex::ZERO;
                self.boundary = record.id;
                self.index.reset(record.id);
                Ok(())
            }
            RecordType::Truncate => self.apply_truncation(record.id),
            RecordType::Purge => self.apply_purge(record.id),
        }
    }

    fn apply_entry(&mut self, scan: &mut SegmentScan, record: &RecordHeader, at: u64) -> Applied {
        let id = record.id;
        if !self.index.summary.is_next(id) {
            return inconsistent("its entries do not follow the ones before them");
        }
        let header_offset = at - crate::format::RECORD_HEADER_BYTES as u64;
        self.index.push(id, scan.seal(), Slot::new(header_offset, record.payload_bytes));
        if record.entry_kind == EntryKind::Membership.number() {
            let payload = sound_payload(scan, record, at)?;
            self.index.summary.add_membership(id.index, payload);
        }
        Ok(())
    }

    /// The first checkpoint starts the replay; the others repeat known state.
    fn apply_checkpoint(&mut self, last: EntryId, checkpoint: Checkpoint) -> Applied {
        let Checkpoint { boundary, hard_state, identity, .. } = checkpoint;
        if !self.is_begun {
            self.facts = Facts { hard_state, identity, ..Facts::default() };
            self.boundary = boundary;
            self.index.reset(last);
            self.is_begun = true;
            return Ok(());
        }
        let known = (self.boundary, self.index.last(), self.facts.hard_state, self.facts.identity);
        if known == (boundary, last, hard_state, identity) {
            Ok(())
        } else {
            inconsistent("its checkpoint contradicts the frames before it")
        }
    }

    fn apply_truncation(&mut self, last: EntryId) -> Applied {
        if last.index < self.boundary.index || last.index > self.index.last().index {
            return inconsistent("it truncates entries that do not exist");
        }
        if last.index < self.index.summary.bounds().boundary.index {
            // Only entries of removed segments remain: a later purge must account for them.
            self.index.reset(last);
        } else {
            self.index.truncate_after(last.index);
        }
        Ok(())
    }

    fn apply_purge(&mut self, upto: EntryId) -> Applied {
        if upto.index > self.index.last().index {
            return inconsistent("it purges entries that do not exist");
        }
        self.boundary = upto;
        if upto.index > self.index.summary.bounds().boundary.index {
            self.index.purge_upto(upto);
        }
        Ok(())
    }

    /// Checks that every entry of the log lies in an existing segment.
    pub(crate) fn check_complete(&self, place: String) -> Result<(), LogError> {
        if self.index.summary.bounds().boundary == self.boundary {
            return Ok(());
        }
        let kind = LogErrorKind::Corrupt { index: Some(self.boundary.index.next()) };
        let place = format!("{place}: the segments before it are missing");
        Err(LogError::new(LogOp::Open, kind).at(place))
    }
}

fn sound_payload(
    scan: &mut SegmentScan,
    record: &RecordHeader,
    at: u64,
) -> Result<Bytes, ReplayFault> {
    match scan.payload(record, at)? {
        Some(payload) => Ok(Bytes::copy_from_slice(payload)),
        None => Err(ReplayFault::Damaged("a payload that must be known is damaged")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use raft_core::storage::record::encode_hard_state;
    use raft_core::types::{HardState, Term};

    use super::*;
    use crate::config::Alignment;
    use crate::disk::Disk;
    use crate::format::Seal;
    use crate::frame_builder::{FrameBuilder, Place};
    use crate::sim_disk::SimDisk;

    const SEAL: Seal = Seal { segment: 1, salt: 5 };

    type Record = (RecordType, EntryId, Vec<u8>);

    fn id(index: u64, term: u64) -> EntryId {
        EntryId::new(Term::new(term), LogIndex::new(index))
    }

    fn entry(index: u64, term: u64) -> Record {
        (RecordType::Entry, id(index, term), vec![7; 8])
    }

    fn of_term(term: u64) -> HardState {
        HardState { term: Term::new(term), vote: None }
    }

    fn hard_state(term: u64) -> Record {
        (RecordType::HardState, EntryId::ZERO, encode_hard_state(of_term(term)).to_vec())
    }

    /// A checkpoint of a log that ends at `last`, in this term.
    fn checkpoint(last: EntryId, term: u64) -> Record {
        let hard_state = of_term(term);
        let boundary = EntryId::ZERO;
        let checkpoint = Checkpoint { boundary, previous_end: 0, hard_state, identity: None };
        (RecordType::Checkpoint, last, checkpoint.encode())
    }

    /// Replays a frame with entries 1@2 and 2@2, term 3 and a hint of 2; then one with these
    /// records and this hint. Every checksum holds.
    fn replay(records: &[Record], hint: u64) -> Result<Replay, &'static str> {
        let first = [checkpoint(EntryId::ZERO, 0), hard_state(3), entry(1, 2), entry(2, 2)];
        let mut bytes = Vec::new();
        for (number, (records, hint)) in (1..).zip([(&first[..], 2), (records, hint)]) {
            let place = Place { seal: SEAL, offset: bytes.len() as u64, block_bytes: 1 };
            let mut builder = FrameBuilder::new(place);
            builder.begin(place, number, Position::default(), 4096);
            for (record, id, payload) in records {
                let kind = if *record == RecordType::Entry { 1 } else { 0 };
                builder.push(*record, kind, *id, payload);
            }
            builder.finish(Alignment::Packed, LogIndex::new(hint), false);
            bytes.extend_from_slice(&builder.give_buffer());
        }
        let disk = Arc::new(SimDisk::new(0));
        disk.put("segment", bytes);
        let mut scan = SegmentScan::new(disk.open("segment").expect("there"), SEAL).expect("opens");
        let mut replay = Replay::default();
        for _ in 0..2 {
            let frame = scan.frame(replay.end.offset).expect("reads").expect("sound");
            replay.apply(&mut scan, &frame).map_err(|fault| match fault {
                ReplayFault::Damaged(what) => what,
                _ => "another fault",
            })?;
        }
        Ok(replay)
    }

    fn fault(records: &[Record]) -> Option<&'static str> {
        replay(records, 2).err()
    }

    #[test]
    fn a_checkpoint_repeats_the_state_of_the_frames_before_it() {
        assert_eq!(fault(&[checkpoint(id(2, 2), 3)]), None);
        let contradicts = Some("its checkpoint contradicts the frames before it");
        assert_eq!(fault(&[checkpoint(id(1, 2), 3)]), contradicts, "an entry less");
        assert_eq!(fault(&[checkpoint(id(2, 2), 4)]), contradicts, "another term");
    }

    #[test]
    fn terms_do_not_fall_at_replay() {
        assert_eq!(fault(&[entry(3, 2), hard_state(4)]), None);
        let gap = Some("its entries do not follow the ones before them");
        assert_eq!(fault(&[entry(3, 1)]), gap);
        assert_eq!(fault(&[entry(4, 2)]), gap);
        assert_eq!(fault(&[hard_state(2)]), Some("its hard state is not valid"));
    }

    #[test]
    fn a_hint_is_about_entries_of_the_log_as_it_stands() {
        let hint = |records: &[Record], hint| {
            let replay = replay(records, hint).unwrap_or_else(|what| panic!("{what}"));
            replay.facts.commit_hint.get()
        };
        assert_eq!(hint(&[entry(3, 2)], 9), 3, "the first builds wrote hints beyond the end");
        let reset = (RecordType::Reset, id(1, 9), vec![]);
        let after = [reset, entry(2, 9), entry(3, 9)];
        assert_eq!(hint(&after, 0), 0, "a reset begins another log");
    }
}
