//! Consecutive entries, shared by several holders.
//!
//! The tail of a log, the envelopes to its peers and, within one process, the tails of those peers
//! hold the same entries. Many are stored once, and their bytes are counted once; a few are cheaper
//! to copy than to share.

use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};
use std::sync::Arc;

use raft_core::types::{Entry, LogIndex};

/// Up to this many are copied rather than shared.
const FEW: usize = 16;

/// Entries of one log with consecutive indexes, or none. Cloning is cheap.
#[derive(Clone)]
pub struct Entries {
    held: Held,
    /// The bytes of their payloads.
    bytes: u64,
}

#[derive(Clone)]
enum Held {
    Own(Vec<Entry>),
    Shared(Arc<Vec<Entry>>, Range<usize>),
}

impl Entries {
    /// The bytes of their payloads.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entries from `first` to `upto`; `None` unless all of them are here.
    pub(crate) fn part(&self, first: LogIndex, upto: LogIndex) -> Option<Entries> {
        let part = self.between(first, upto);
        if part.len() as u64 != upto.since(first) + 1 {
            return None;
        }
        if part.len() == self.len() {
            return Some(self.clone());
        }
        let held = match &self.held {
            Held::Shared(whole, range) if part.len() > FEW => {
                let start = range.start + first.since(self[0].id.index) as usize;
                Held::Shared(Arc::clone(whole), start..start + part.len())
            }
            _ => Held::Own(part.to_vec()),
        };
        Some(Entries { held, bytes: bytes_of(part) })
    }

    /// Like [`Entries::part`], but without a copy where all entries are wanted.
    pub(crate) fn into_part(self, first: LogIndex, upto: LogIndex) -> Option<Entries> {
        let ends = (self.first()?.id.index, self.last()?.id.index);
        if ends == (first, upto) { Some(self) } else { self.part(first, upto) }
    }

    /// As many of the entries from `first` to `upto` as are here.
    pub(crate) fn between(&self, first: LogIndex, upto: LogIndex) -> &[Entry] {
        let (Some(start), Some(end)) = (self.first(), self.last()) else { return &[] };
        let (from, to) = (first.max(start.id.index), upto.min(end.id.index));
        if from > to {
            return &[];
        }
        let at = |index: LogIndex| index.since(start.id.index) as usize;
        &self[at(from)..=at(to)]
    }

    /// Appends a copy of a few more entries, if they all still fit in one piece of memory; returns
    /// whether it did.
    pub(crate) fn try_append(&mut self, more: &[Entry]) -> bool {
        /// The number of entries that a page of memory holds.
        const PIECE: usize = 4096 / size_of::<Entry>();
        match &mut self.held {
            Held::Own(own) if more.len() <= FEW && own.len() + more.len() <= PIECE => {
                own.reserve_exact(PIECE - own.len());
                own.extend_from_slice(more);
                self.bytes += bytes_of(more);
                true
            }
            _ => false,
        }
    }

    /// The entries as a list, copied if others hold them, too.
    pub(crate) fn into_vec(self) -> Vec<Entry> {
        match self.held {
            Held::Own(own) => own,
            Held::Shared(whole, range) => whole[range].to_vec(),
        }
    }
}

/// The payload bytes of entries.
fn bytes_of(entries: &[Entry]) -> u64 {
    entries.iter().map(Entry::size).sum()
}

impl From<Vec<Entry>> for Entries {
    /// The indexes must be consecutive, as they are in every answer of a log.
    fn from(entries: Vec<Entry>) -> Entries {
        let (range, bytes) = (0..entries.len(), bytes_of(&entries));
        let held = if range.end <= FEW {
            Held::Own(entries)
        } else {
            Held::Shared(Arc::new(entries), range)
        };
        Entries { held, bytes }
    }
}

impl Default for Entries {
    fn default() -> Entries {
        Entries { held: Held::Own(Vec::new()), bytes: 0 }
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        match &self.held {
            Held::Own(own) => own,
            Held::Shared(whole, range) => &whole[range.clone()],
        }
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Entries) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Entries {}

impl Hash for Entries {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self[..].hash(hasher);
    }
}

impl Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::types::{EntryId, EntryKind, Term};

    use super::*;

    fn entries(first: u64, sizes: &[usize]) -> Entries {
        let entry = |(index, size): (u64, &usize)| {
            let id = EntryId::new(Term::new(1), LogIndex::new(index));
            Entry::new(id, EntryKind::Command, Bytes::from(vec![0; *size]))
        };
        Entries::from((first..).zip(sizes).map(entry).collect::<Vec<Entry>>())
    }

    fn part(of: &Entries, first: u64, upto: u64) -> Option<(Vec<u64>, u64)> {
        let (first, upto) = (LogIndex::new(first), LogIndex::new(upto));
        let part = of.part(first, upto);
        assert_eq!(of.clone().into_part(first, upto), part, "the same part, without a copy");
        let part = part?;
        Some((part.iter().map(|entry| entry.id.index.get()).collect(), part.bytes()))
    }

    #[test]
    fn a_part_has_exactly_its_range_or_is_none() {
        let whole = entries(5, &[1, 2, 4]);
        assert_eq!(part(&whole, 5, 7), Some((vec![5, 6, 7], 7)));
        assert_eq!(part(&whole, 6, 7), Some((vec![6, 7], 6)));
        assert_eq!(part(&whole, 6, 6), Some((vec![6], 2)));
        let outside = [part(&whole, 4, 5), part(&whole, 7, 8), part(&whole, 9, 9)];
        assert_eq!(outside, [None, None, None]);
        assert_eq!(part(&entries(3, &[9]), 3, 3), Some((vec![3], 9)));
        assert_eq!(part(&entries(3, &[9]), 4, 4), None);
        assert_eq!(part(&Entries::default(), 1, 1), None);
    }

    #[test]
    fn a_part_of_a_part_is_found_whether_shared_or_copied() {
        let whole = entries(5, &[1; 100]);
        let rest = whole.part(LogIndex::new(20), LogIndex::new(90)).expect("there");
        assert!(matches!(rest.held, Held::Shared(..)));
        assert_eq!((rest.len(), rest.bytes(), rest[0].id.index.get()), (71, 71, 20));
        assert_eq!(part(&rest, 30, 32), Some((vec![30, 31, 32], 3)));
        assert_eq!(part(&rest, 19, 20), None);
        assert_eq!(rest, entries(20, &[1; 71]), "equal, whatever it is a part of");
        assert_eq!(rest.into_vec().len(), 71);
    }

    #[test]
    fn a_few_are_appended_and_many_are_not() {
        let mut few = entries(1, &[1, 2]);
        assert!(few.try_append(&entries(3, &[4])));
        assert_eq!((few.len(), few.bytes()), (3, 7));
        assert!(!few.try_append(&entries(4, &[0; FEW + 1])));
        assert!(!entries(1, &[0; FEW + 1]).try_append(&entries(18, &[0])), "others may hold them");
        let taken = (4..200).take_while(|index| few.try_append(&entries(*index, &[0]))).count();
        assert_eq!(few.len(), 3 + taken);
        assert!(few.len() * size_of::<Entry>() <= 4096);
    }
}
