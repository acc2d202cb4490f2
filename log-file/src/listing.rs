//! The files of a log's directory, classified by their names.

use raft_core::storage::{LogError, LogErrorKind, LogOp};

use crate::disk::Disk;
use crate::names::{Name, parse};

/// The numbers of the segments and spares, ascending, and which small files there are.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    segments: Vec<u64>,
    pub(crate) spares: Vec<u64>,
    pub(crate) has_durable_mark: bool,
    /// Whether a durable mark was being written when its process ended.
    pub(crate) has_new_durable_mark: bool,
}

impl Listing {
    /// Lists a directory. A directory with files but no segment is refused: it does not hold a log.
    pub(crate) fn of(disk: &dyn Disk) -> Result<Listing, LogError> {
        let names =
            disk.list().map_err(|error| LogError::io(LogOp::Open, error).at(disk.place("")))?;
        let mut listing = Listing::default();
        let mut unknown = None;
        for name in names {
            match parse(&name) {
                Some(Name::Segment(number)) => listing.segments.push(number),
                Some(Name::Spare(number)) => listing.spares.push(number),
                Some(Name::DurableMark) => listing.has_durable_mark = true,
                Some(Name::NewDurableMark) => listing.has_new_durable_mark = true,
                Some(Name::Lock) => {}
                None if owned_dir::is_of_the_file_system(&name) => {}
                None => unknown = Some(name),
            }
        }
        listing.segments.sort_unstable();
        listing.spares.sort_unstable();
        match unknown {
            Some(name) if listing.segments.is_empty() => {
                let place =
                    format!("{}: not a file of a log; give an empty directory", disk.place(&name));
                Err(LogError::new(LogOp::Open, LogErrorKind::Format).at(place))
            }
            _ => Ok(listing),
        }
    }

    /// The highest unbroken sequence of segments: those that belong to the log.
    pub(crate) fn row(&self) -> impl Iterator<Item = u64> + '_ {
        self.segments[self.row_start()..].iter().copied()
    }

    /// The segments below that sequence: an interrupted removal left them, unless the sequence
    /// needs them.
    pub(crate) fn left_over(&self) -> impl Iterator<Item = u64> + '_ {
        self.segments[..self.row_start()].iter().copied()
    }

    fn row_start(&self) -> usize {
        let is_gap = |pair: &[u64]| pair[0] + 1 != pair[1];
        self.segments.windows(2).rposition(is_gap).map_or(0, |before| before + 1)
    }
}
