//! The keys to which a request refers.

use std::ops::Bound;

/// A set of neighbouring keys, in etcd's terms: a key and the end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span<'r> {
    /// This key alone: the range has no end.
    One(&'r [u8]),
    /// This key and all after it: the range ends in a single zero byte.
    From(&'r [u8]),
    /// From the first key up to, but not including, the second. Empty if they are not in order.
    Between(&'r [u8], &'r [u8]),
}

/// The bounds of a range in an ordered map.
pub(super) type Bounds<'r> = (Bound<&'r [u8]>, Bound<&'r [u8]>);

impl<'r> Span<'r> {
    /// The span of a request's `key` and `range_end`.
    pub fn of(key: &'r [u8], range_end: &'r [u8]) -> Span<'r> {
        match range_end {
            [] => Span::One(key),
            [0] => Span::From(key),
            end => Span::Between(key, end),
        }
    }

    /// The bounds of the span in an ordered map; `None` if no key can be in it.
    pub(super) fn bounds(self) -> Option<Bounds<'r>> {
        match self {
            Span::One(key) => Some((Bound::Included(key), Bound::Included(key))),
            Span::From(key) => Some((Bound::Included(key), Bound::Unbounded)),
            Span::Between(key, end) if key < end => {
                Some((Bound::Included(key), Bound::Excluded(end)))
            }
            Span::Between(..) => None,
        }
    }
}
