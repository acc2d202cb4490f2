//! Reads many keys in steps, so that the store's lock is held only for a short time.
//!
//! A walk keeps its position as the last key that it examined, and reads every key as it was at one
//! point. Keys that are created, changed or deleted between two steps do not affect it. The caller
//! must hold a [`super::Pin`] on the walk's point if it takes more than one step.

use std::ops::Bound;

use bytes::Bytes;

use super::{Found, Revision, Span, Store};

/// A read of a span's keys, in progress.
#[derive(Debug)]
pub struct Walk {
    point: Revision,
    /// The key at which the next step begins; `None` at the end.
    next: Option<Bound<Bytes>>,
    end: Bound<Bytes>,
}

impl Walk {
    /// Starts a walk over `span` as it was at `point`.
    pub fn new(span: Span<'_>, point: Revision) -> Walk {
        let owned = |bound: Bound<&[u8]>| bound.map(Bytes::copy_from_slice);
        match span.bounds() {
            Some((start, end)) => Walk { point, next: Some(owned(start)), end: owned(end) },
            None => Walk { point, next: None, end: Bound::Unbounded },
        }
    }

    /// The point at which it reads.
    pub fn point(&self) -> Revision {
        self.point
    }

    /// Whether all keys have been examined.
    pub fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// Examines at most `keys` keys, existing or not, and passes those that exist to `visit`. It
    /// stops when `visit` returns `false`. The next step continues after the last key.
    pub fn step(&mut self, store: &Store, keys: usize, mut visit: impl FnMut(Found<'_>) -> bool) {
        let Some(start) = self.next.take() else { return };
        let bounds = (start.as_ref().map(|key| &key[..]), self.end.as_ref().map(|key| &key[..]));
        for (looked_at, (key, history)) in store.keys.range::<[u8], _>(bounds).enumerate() {
            let found = history.at(self.point).and_then(|version| Found::of(key, version));
            let goes_on = found.is_none_or(&mut visit);
            if !goes_on || looked_at + 1 >= keys {
                self.next = Some(Bound::Excluded(key.clone()));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &mut Store, key: &str, value: &str) {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        store.write(|write| write.put(&key, value, 0));
    }

    fn walked(walk: &mut Walk, store: &Store, keys: usize) -> Vec<String> {
        let mut seen = Vec::new();
        walk.step(store, keys, |found| {
            seen.push(String::from_utf8_lossy(&found.value.bytes).into_owned());
            true
        });
        seen
    }

    #[test]
    fn a_walk_in_steps_sees_its_point_whatever_is_written_deleted_and_compacted_meanwhile() {
        let mut store = Store::default();
        for key in ["a", "b", "c", "d"] {
            put(&mut store, key, "old");
        }
        let pin = store.view().pin();
        let mut walk = Walk::new(Span::Between(b"a", b"d"), store.view().point());
        assert_eq!(walked(&mut walk, &store, 1), ["old"]);
        put(&mut store, "b", "new");
        put(&mut store, "bb", "new");
        store.write(|write| write.delete(Span::of(b"c", b"")));
        store.compact(store.revision()).expect("not yet compacted");
        store.sweep(100);
        assert_eq!(walked(&mut walk, &store, 10), ["old", "old"]);
        assert!(walk.is_over());
        drop(pin);
        store.sweep(100);
        assert_eq!(store.view().newest(Span::From(b"a")).count(), 4);
        assert!(store.view().get(b"c").is_none());
    }

    #[test]
    fn a_step_that_visit_stops_continues_after_the_key() {
        let mut store = Store::default();
        for key in ["a", "b", "c"] {
            put(&mut store, key, key);
        }
        let mut walk = Walk::new(Span::From(b"a"), store.view().point());
        let mut seen = 0;
        walk.step(&store, 100, |_| {
            seen += 1;
            seen < 2
        });
        assert_eq!((seen, walk.is_over()), (2, false));
        assert_eq!(walked(&mut walk, &store, 100), ["c"]);
        assert!(walk.is_over());
    }

    #[test]
    fn a_point_inside_a_transaction_outlives_a_compaction_at_its_revision() {
        let mut store = Store::default();
        put(&mut store, "a", "old");
        let (point, pin) = store.write(|write| {
            write.delete(Span::of(b"a", b""));
            let inside = (write.view().point(), write.view().pin());
            write.put(&Bytes::from("a"), Bytes::from("new"), 0);
            inside
        });
        store.compact(store.revision()).expect("not yet compacted");
        store.sweep(100);
        let mut walk = Walk::new(Span::of(b"a", b""), point);
        assert_eq!(walked(&mut walk, &store, 10), Vec::<String>::new());
        drop(pin);
        assert_eq!(
            walked(&mut Walk::new(Span::of(b"a", b""), store.view().point()), &store, 9),
            ["new"]
        );
    }
}
