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
