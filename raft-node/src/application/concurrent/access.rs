//! What a command reads and writes, as far as it must be known before the command is executed.

use std::ops::Range;

use bytes::Bytes;

/// The keys from `start` on, up to and without `end`, in the order of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key of the range.
    pub start: Bytes,
    /// The first key after the range. The range is empty if this is not greater than `start`.
    pub end: Bytes,
}

impl KeyRange {
    /// One key.
    pub fn key(key: &[u8]) -> KeyRange {
        let end = [key, &[0]].concat();
        KeyRange { start: Bytes::copy_from_slice(key), end: end.into() }
    }

    /// A range of numbers, such as the blocks of a device or the bytes of a file.
    pub fn numbers(numbers: Range<u64>) -> KeyRange {
        let [start, end] = [numbers.start, numbers.end].map(u64::to_be_bytes);
        KeyRange { start: Bytes::copy_from_slice(&start), end: Bytes::copy_from_slice(&end) }
    }

    fn overlaps(&self, other: &KeyRange) -> bool {
        let start = (&self.start).max(&other.start);
        let end = (&self.end).min(&other.end);
        start < end
    }
}

/// What a command, or a query, reads and writes.
///
/// ```
/// use raft_node::{Access, KeyRange};
///
/// let one = Access::default().writing(KeyRange::numbers(0..8));
/// let other = Access::default().reading(KeyRange::numbers(7..9));
/// assert!(one.conflicts(&other));
/// assert!(!other.conflicts(&other), "two reads do not conflict");
/// assert!(Access::everything().conflicts(&other));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    reads: Vec<KeyRange>,
    writes: Vec<KeyRange>,
    is_everything: bool,
}

impl Access {
    /// Everything: such a command is executed after all earlier ones and before all later ones.
    pub fn everything() -> Access {
        Access { is_everything: true, ..Access::default() }
    }

    /// Adds a range that is read.
    #[must_use]
    pub fn reading(mut self, range: KeyRange) -> Access {
        self.reads.push(range);
        self
    }

    /// Adds a range that is written, or read and written.
    #[must_use]
    pub fn writing(mut self, range: KeyRange) -> Access {
        self.writes.push(range);
        self
    }

    /// Whether the two must be executed in the order of the log: one writes what the other reads or
    /// writes.
    pub fn conflicts(&self, other: &Access) -> bool {
        let meet = |one: &[KeyRange], others: &[KeyRange]| {
            one.iter().any(|range| others.iter().any(|other| range.overlaps(other)))
        };
        self.is_everything
            || other.is_everything
            || meet(&self.writes, &other.writes)
            || meet(&self.writes, &other.reads)
            || meet(&self.reads, &other.writes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(numbers: Range<u64>) -> Access {
        Access::default().writing(KeyRange::numbers(numbers))
    }

    #[test]
    fn ranges_overlap_if_they_share_a_key() {
        assert!(writes(0..8).conflicts(&writes(7..8)));
        assert!(!writes(0..8).conflicts(&writes(8..9)), "the end is not part of the range");
        assert!(!writes(4..4).conflicts(&writes(0..8)), "an empty range has no key");
        assert!(writes(255..256).conflicts(&writes(0..300)), "numbers are in the order of numbers");
        let [ab, abc] = ["ab", "abc"].map(|key| KeyRange::key(key.as_bytes()));
        assert!(ab.overlaps(&ab) && !ab.overlaps(&abc) && !abc.overlaps(&ab));
    }

    #[test]
    fn only_two_reads_of_one_key_do_not_conflict() {
        let range = || KeyRange::key(b"k");
        let (read, write) =
            (Access::default().reading(range()), Access::default().writing(range()));
        assert!(!read.conflicts(&read));
        assert!(read.conflicts(&write) && write.conflicts(&read) && write.conflicts(&write));
        assert!(!Access::default().conflicts(&write), "nothing is read or written");
        let everything = Access::everything();
        assert!(everything.conflicts(&Access::default()) && read.conflicts(&everything));
    }
}
