//! Visits everything that can be read in a store at one revision, in steps, so that the store's
//! lock is held only for a short time.
//!
//! The contents of a store are its keys with every version that some revision sees, from the
//! compacted one up to the newest. Versions that a compaction has discarded and that are not swept
//! yet are left out, and so are changes after [`Contents::of`]. So the contents depend only on the
//! commands that were applied until then, and are the same on all members.
//!
//! [`Contents::of`] pins the lowest revision that can be read: while its pin exists, a later
//! compaction frees nothing that is still to be visited.

use std::ops::Bound;

use bytes::Bytes;

use super::{Pin, Revision, Store, Version};

/// The contents of a store at one revision, being visited.
#[derive(Debug)]
pub struct Contents {
    revision: i64,
    compacted: i64,
    next: Next,
    _pin: Pin,
}

/// Where the next step begins.
#[derive(Debug)]
enum Next {
    Start,
    /// After this version of this key.
    After(Bytes, Revision),
    End,
}

/// A piece of the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'s> {
    /// A key; keys come in order.
    Key(&'s Bytes),
    /// A version of the key before; the oldest comes first, and each key has at least one.
    Version(&'s Version),
}

impl Contents {
    /// The contents of the store as it is now. This takes no time and next to no memory.
    pub fn of(store: &Store) -> Contents {
        let Store { revision, compacted, .. } = *store;
        Contents { revision, compacted, next: Next::Start, _pin: store.pin(compacted) }
    }

    /// The store's newest revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The lowest revision that can be read, or -1 if nothing was compacted.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Whether everything was visited.
    pub fn is_over(&self) -> bool {
        matches!(self.next, Next::End)
    }

    /// Examines about `most` keys and versions, at least one, and passes the contents to `visit`.
    /// It stops after a version for which `visit` returns `false`. The next step continues there.
    pub fn step(&mut self, store: &Store, most: usize, mut visit: impl FnMut(Piece<'_>) -> bool) {
        let before = std::mem::replace(&mut self.next, Next::End);
        let (start, visited) = match &before {
            Next::Start => (Bound::Unbounded, None),
            Next::After(key, revision) => (Bound::Included(&key[..]), Some((key, *revision))),
            Next::End => return,
        };
        let until = Revision::whole(self.revision);
        let mut examined = 0;
        for (key, history) in store.keys.range::<[u8], _>((start, Bound::Unbounded)) {
            let versions = history.readable(self.compacted, until);
            let versions = match visited {
                Some((same, last)) if same == key => after(versions, last),
                _ => {
                    examined += 1;
                    if !versions.is_empty() {
                        visit(Piece::Key(key));
                    }
                    versions
                }
            };
            let mut at = until;
            for version in versions {
                examined += 1;
                at = version.revision;
                if !visit(Piece::Version(version)) || examined >= most {
                    self.next = Next::After(key.clone(), at);
                    return;
                }
            }
            if examined >= most {
                self.next = Next::After(key.clone(), at);
                return;
            }
        }
    }
}

/// The versions after the one at this point.
fn after(versions: &[Version], last: Revision) -> &[Version] {
    &versions[versions.partition_point(|version| version.revision <= last)..]
}
