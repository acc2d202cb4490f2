//! The inspection of a flat-file log, which changes no byte of it, and the check of every checksum
//! in it.
//!
//! An inspection is the first half of an opening: the files are read as `recover` reads them, and
//! nothing is written again, truncated, renamed or removed. Damage ends the reading, and is
//! reported. The check then reads everything that the segments hold, including purged and truncated
//! entries: the log no longer needs them, but a disk that damages them may damage others.

use std::any::Any;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use raft_core::storage::{
    Inspect, Inspection, LogError, LogErrorKind, LogOp, LogReader, Recovered,
};

use crate::disk::{Disk, WritePath};
use crate::facts::Facts;
use crate::format::{FRAMES_START, HEADER_BLOCK_BYTES, Position, RecordHeader, RecordType};
use crate::index::{Index, SharedIndex};
use crate::listing::Listing;
use crate::log::{FileLog, lock_error, store_info};
use crate::names::segment_name;
use crate::reader::FileReader;
use crate::real_disk::RealDisk;
use crate::recover::{Recovery, header_copies, read_header, survey};
use crate::scan::{Frame, SegmentScan};

/// A flat-file log under inspection.
struct FileInspection {
    disk: Arc<dyn Disk>,
    index: SharedIndex,
    segments: Vec<u64>,
    /// The start of the torn write that an opening drops.
    torn: Option<Position>,
    inspection: Inspection,
    _lock: Box<dyn Any + Send + Sync>,
}

impl FileLog {
    /// Inspects the log in a directory without changing it. Fails if there is none, or if it is in
    /// use; damage is part of the result.
    pub fn inspect(dir: impl Into<PathBuf>) -> Result<Box<dyn Inspect>, LogError> {
        FileLog::inspect_on(Arc::new(RealDisk::read_only(dir)))
    }

    /// Inspects the log on a given disk, as [`FileLog::inspect`] does.
    pub fn inspect_on(disk: Arc<dyn Disk>) -> Result<Box<dyn Inspect>, LogError> {
        let lock = disk.lock().map_err(|error| lock_error(error, disk.as_ref()))?;
        let listing = Listing::of(disk.as_ref())?;
        let segments: Vec<u64> = listing.row().collect();
        if segments.is_empty() && !listing.has_durable_mark {
            let place = format!("{}: no segment of a log is in it", disk.place(""));
            return Err(LogError::new(LogOp::Open, LogErrorKind::Format).at(place));
        }
        let (recovery, damage) = survey(&disk, &listing);
        let torn = recovery.end.torn;
        let (index, inspection) = inspection_of(disk.as_ref(), recovery, damage);
        let index = Arc::new(RwLock::new(index));
        Ok(Box::new(FileInspection { disk, index, segments, torn, inspection, _lock: lock }))
    }
}

fn inspection_of(
    disk: &dyn Disk,
    found: Recovery,
    mut damage: Option<LogError>,
) -> (Index, Inspection) {
    let tail = found.tail(disk);
    let Recovery { replay, end, furthest, .. } = found;
    let mut beyond = Vec::new();
    if let Some(last) = &end.unproven {
        let at = Position::new(last.segment, last.offset).place(disk);
        beyond.push(format!("{at}: a whole batch, which an opening keeps"));
    }
    if let Some(torn) = end.torn {
        beyond.push(format!("{}: a torn write, which an opening drops", torn.place(disk)));
    }
    let Facts { hard_state, commit_hint, .. } = replay.facts;
    let found = replay.index.summary.recovered(hard_state, commit_hint, tail);
    let found = found.map_err(|error| damage.get_or_insert(error));
    let inspection = Inspection {
        info: store_info(WritePath::default()),
        identity: replay.facts.identity,
        recovered: found.unwrap_or_else(|_| Recovered::nothing_but(hard_state)),
        proven: if furthest == Position::default() { String::new() } else { furthest.place(disk) },
        beyond,
        damage,
    };
    (replay.index, inspection)
}

impl Inspect for FileInspection {
    fn result(&self) -> &Inspection {
        &self.inspection
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(FileReader::new(self.disk.clone(), self.index.clone()))
    }

    fn verify(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Vec<LogError> {
        let mut findings = Vec::new();
        if let Some(damage) = &self.inspection.damage {
            findings.push(LogError::new(damage.op, damage.kind.clone()).at(damage.place.clone()));
        }
        let all = self.segments.iter().map(|segment| self.segment_bytes(*segment)).sum();
        let mut done = 0;
        for segment in self.segments.clone() {
            let checked = self.verify_segment(segment, &mut findings, &mut |offset| {
                progress(done + offset, all);
            });
            if let Err(error) = checked {
                findings.push(LogError::io(LogOp::Read, error).at(self.place(segment)));
            }
            done += self.segment_bytes(segment);
        }
        progress(all, all);
        findings
    }
}

impl FileInspection {
    fn place(&self, segment: u64) -> String {
        self.disk.place(&segment_name(segment))
    }

    fn segment_bytes(&self, segment: u64) -> u64 {
        self.disk.open(&segment_name(segment)).and_then(|file| file.len()).unwrap_or(0)
    }

    /// Checks both headers of a segment, and every payload of the frames that can be read.
    fn verify_segment(
        &self,
        segment: u64,
        findings: &mut Vec<LogError>,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let file = self.disk.open(&segment_name(segment))?;
        // If both copies are damaged, the inspection has reported it, and nothing after them can be
        // read.
        let Ok(header) = read_header(file.as_ref())? else { return Ok(()) };
        for (copy, found) in header_copies(file.as_ref())?.into_iter().enumerate() {
            if found != Ok(header) {
                let offset = copy as u64 * HEADER_BLOCK_BYTES;
                let what = "one copy of the segment's header; the other is sound, nothing is lost";
                findings.push(self.damage(segment, offset, what));
            }
        }
        let mut scan = SegmentScan::new(file, header.seal)?;
        let mut offset = FRAMES_START;
        while let Ok(frame) = scan.frame(offset)? {
            self.verify_frame(&mut scan, &frame, findings)?;
            offset = frame.end();
            progress(offset);
        }
        Ok(())
    }

    fn verify_frame(
        &self,
        scan: &mut SegmentScan,
        frame: &Frame,
        findings: &mut Vec<LogError>,
    ) -> io::Result<()> {
        let mut damaged_payload = Vec::new();
        for (record, offset) in &frame.records {
            if scan.payload(record, *offset)?.is_none() {
                damaged_payload.push((*record, *offset));
            }
        }
        let segment = scan.seal().segment;
        if self.torn != Some(Position::new(segment, frame.offset)) {
            findings.extend(
                damaged_payload
                    .iter()
                    .map(|(record, at)| self.damaged_payload(segment, record, *at)),
            );
        }
        Ok(())
    }

    fn damaged_payload(&self, segment: u64, record: &RecordHeader, at: u64) -> LogError {
        if record.record != RecordType::Entry {
            return self.damage(segment, at, "the payload of a record that is not an entry");
        }
        let index = self.index.read().expect("there is no writer");
        let is_inside =
            index.summary.bounds().check_inside(record.id.index, record.id.index).is_ok();
        let is_live = is_inside && {
            let (seal, slot) = index.find(record.id.index);
            let header_offset = at - crate::format::RECORD_HEADER_BYTES as u64;
            (seal.segment, slot.offset()) == (segment, header_offset)
        };
        let kind = LogErrorKind::Corrupt { index: Some(record.id.index) };
        let what = if is_live || self.inspection.damage.is_some() {
            format!("the payload of entry {}", record.id)
        } else {
            format!(
                "the payload of {}, which was purged or truncated and is not read any more",
                record.id
            )
        };
        let place = format!("{}, offset {at}: {what}", self.place(segment));
        LogError::new(LogOp::Read, kind).at(place)
    }

    fn damage(&self, segment: u64, offset: u64, what: &str) -> LogError {
        let kind = LogErrorKind::Corrupt { index: None };
        let place = format!("{}, offset {offset}: {what}", self.place(segment));
        LogError::new(LogOp::Read, kind).at(place)
    }
}
