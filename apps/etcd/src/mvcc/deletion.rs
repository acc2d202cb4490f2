//! Deletes the keys of a span in steps, so that deleting very many keys does not delay the member.
//!
//! The tombstones carry the revision after the store's, so no view sees any of them until the last
//! step raises the store's revision. No other transaction may change the store between the first
//! step and the last.

use bytes::Bytes;

use super::{Revision, Span, Store, View, Walk};

/// A deletion in progress.
#[derive(Debug)]
pub struct Deletion {
    /// Walks the keys that existed when the deletion began.
    walk: Walk,
    /// The revision of the transaction.
    revision: i64,
    deleted: i64,
}

impl Deletion {
    /// Begins a transaction that deletes the keys of `span`. Nothing has changed yet.
    pub fn begin(view: View<'_>, span: Span<'_>) -> Deletion {
        let walk = Walk::new(span, view.point());
        Deletion { walk, revision: view.revision() + 1, deleted: 0 }
    }

    /// Continues, and examines at most `keys` keys. Returns whether the deletion is complete.
    pub fn step(&mut self, store: &mut Store, keys: usize) -> bool {
        let mut found: Vec<Bytes> = Vec::new();
        self.walk.step(store, keys, |one| {
            found.push(one.key.clone());
            true
        });
        for key in &found {
            store.add_tombstone(key, Revision { main: self.revision, sub: self.deleted });
            self.deleted += 1;
        }
        if !self.walk.is_over() {
            return false;
        }
        store.revision += i64::from(self.deleted > 0);
        true
    }

    /// How many keys it has deleted so far.
    pub fn deleted(&self) -> i64 {
        self.deleted
    }
}

#[cfg(test)]
mod tests {
    use super::super::Contents;
    use super::*;

    /// Keys `00` to `99`, each put twice, and some deleted already.
    fn filled() -> Store {
        let mut store = Store::default();
        for round in 0..2 {
            for key in 0..100 {
                let value = Bytes::from(format!("{round}"));
                store.write(|write| write.put(&Bytes::from(format!("{key:02}")), value, 0));
            }
        }
        store.write(|write| write.delete(Span::Between(b"30", b"40")));
        store
    }

    fn seen(store: &Store, at: i64) -> Vec<Bytes> {
        let found = store.view().find(Span::From(b"0"), at).expect("readable");
        found.map(|found| found.key.clone()).collect()
    }

    /// Every version of every key.
    fn versions(store: &Store) -> Vec<String> {
        let (mut all, mut contents) = (Vec::new(), Contents::of(store));
        while !contents.is_over() {
            contents.step(store, 1000, |piece| {
                all.push(format!("{piece:?}"));
                true
            });
        }
        all
    }

    #[test]
    fn a_deletion_in_steps_is_the_same_as_one_at_once_and_seen_only_at_its_end() {
        let span = Span::Between(b"20", b"70");
        let mut at_once = filled();
        let (deleted, revision) = at_once.write(|write| write.delete(span));
        let mut store = filled();
        let before = seen(&store, 0);
        let mut deletion = Deletion::begin(store.view(), span);
        let mut steps = 1;
        while !deletion.step(&mut store, 7) {
            assert_eq!(store.revision(), revision - 1);
            assert_eq!(seen(&store, 0), before, "step {steps}");
            assert!(store.view().get(b"20").is_some(), "step {steps}");
            store.sweep(100);
            steps += 1;
        }
        assert!(steps > 7, "{steps} steps");
        assert_eq!((deletion.deleted(), store.revision()), (deleted, revision));
        assert_eq!(seen(&store, 0), seen(&at_once, 0));
        assert_eq!(seen(&store, revision - 1), before);
        assert_eq!(store.size(), at_once.size());
        assert_eq!(versions(&store), versions(&at_once), "also in the order of its deletions");
        for store in [&mut store, &mut at_once] {
            store.compact(revision).expect("not yet compacted");
            store.sweep(1000);
        }
        assert_eq!(
            (store.version_count(), store.size()),
            (at_once.version_count(), at_once.size())
        );
    }

    #[test]
    fn a_deletion_of_nothing_is_no_revision() {
        let mut store = filled();
        let revision = store.revision();
        let mut deletion = Deletion::begin(store.view(), Span::Between(b"30", b"40"));
        while !deletion.step(&mut store, 3) {}
        assert_eq!((deletion.deleted(), store.revision()), (0, revision));
    }
}
