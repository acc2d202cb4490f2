//! Changing: one transaction on the store.

use bytes::Bytes;

use super::{Revision, Span, Store, Value, Version, View, cost};

/// A transaction in progress. Its later steps see what its earlier steps changed.
#[derive(Debug)]
pub struct Write<'s> {
    store: &'s mut Store,
    /// How many changes it has made.
    changes: i64,
}

impl<'s> Write<'s> {
    pub(super) fn new(store: &'s mut Store) -> Write<'s> {
        Write { store, changes: 0 }
    }

    /// The store as the transaction's next step sees it.
    pub fn view(&self) -> View<'_> {
        if self.changes == 0 {
            return self.store.view();
        }
        View::new(self.store, Revision { main: self.revision(), sub: self.changes - 1 })
    }

    /// The transaction's own revision if it has changed something, else the one before.
    pub fn revision(&self) -> i64 {
        self.store.revision + i64::from(self.changes > 0)
    }

    /// Puts a value, and returns its revision. The bytes are copied: they may be a small part of a
    /// large buffer, which the store must not keep in memory.
    pub fn put(&mut self, key: &Bytes, value: Bytes, lease: i64) -> i64 {
        let revision = self.next_revision();
        let bytes = Bytes::copy_from_slice(&value);
        let alone = Span::One(key).bounds();
        let known = alone.and_then(|alone| self.store.keys.range_mut::<[u8], _>(alone).next());
        let history = match known {
            Some((key, history)) => {
                self.store.superseding.push_back((revision.main, key.clone()));
                history
            }
            None => self.store.keys.entry(Bytes::copy_from_slice(key)).or_default(),
        };
        let previous = history.last().and_then(|version| version.value.as_ref());
        let created = previous.map_or(revision.main, |value| value.created);
        let version = previous.map_or(1, |value| value.version + 1);
        let value = Some(Value { created, version, lease, bytes });
        let version = Version { revision, value };
        self.store.bytes += cost(key, &version);
        history.push(version);
        revision.main
    }

    /// Deletes the keys of a span, and returns how many there were and the revision that sees the
    /// deletion.
    pub fn delete(&mut self, span: Span<'_>) -> (i64, i64) {
        let keys: Vec<Bytes> = self.view().newest(span).map(|found| found.key.clone()).collect();
        for key in &keys {
            let revision = self.next_revision();
            self.store.add_tombstone(key, revision);
        }
        (keys.len() as i64, self.revision())
    }

    fn next_revision(&mut self) -> Revision {
        let revision = Revision { main: self.store.revision + 1, sub: self.changes };
        self.changes += 1;
        revision
    }

    pub(super) fn finish(self) {
        self.store.revision = self.revision();
    }
}
