//! Reading: the store as one revision sees it.

use bytes::Bytes;

use crate::api::mvccpb::KeyValue;
use crate::errors::Refusal;

use super::{Pin, Revision, Span, Store, Value, Version};

/// The store at one point, possibly in the middle of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct View<'s> {
    store: &'s Store,
    /// The last change that this view sees.
    point: Revision,
}

/// A key that exists, in the requested version.
#[derive(Clone, Copy, Debug)]
pub struct Found<'s> {
    /// The key.
    pub key: &'s Bytes,
    /// The revision that wrote this version.
    pub modified: i64,
    /// Its value.
    pub value: &'s Value,
}

impl<'s> View<'s> {
    pub(super) fn new(store: &'s Store, point: Revision) -> View<'s> {
        View { store, point }
    }

    /// The newest revision that this view sees.
    pub fn revision(self) -> i64 {
        self.point.main
    }

    /// The last change that this view sees.
    pub fn point(self) -> Revision {
        self.point
    }

    /// The store that is viewed.
    pub(crate) fn store(self) -> &'s Store {
        self.store
    }

    /// Keeps what this view sees readable until the pin is dropped.
    pub fn pin(self) -> Pin {
        self.store.pin(self.point.main)
    }

    /// The point at which a request for the revision `at` reads; 0 or less means the newest.
    ///
    /// # Errors
    ///
    /// If that revision does not exist yet, or was compacted.
    pub fn point_of(self, at: i64) -> Result<Revision, Refusal> {
        if at > self.point.main {
            return Err(Refusal::FutureRevision);
        }
        let point = if at <= 0 || at == self.point.main { self.point } else { Revision::whole(at) };
        if point.main < self.store.compacted {
            return Err(Refusal::Compacted);
        }
        Ok(point)
    }

    /// The lowest revision that can be read; negative if nothing was compacted.
    pub fn compacted(self) -> i64 {
        self.store.compacted
    }

    /// The keys of `span` that exist at revision `at`, in order; 0 or less means the newest.
    pub fn find(
        self,
        span: Span<'s>,
        at: i64,
    ) -> Result<impl Iterator<Item = Found<'s>> + 's, Refusal> {
        let point = self.point_of(at)?;
        let bounds = span.bounds().into_iter();
        let keys = bounds.flat_map(|bounds| self.store.keys.range::<[u8], _>(bounds));
        Ok(keys.filter_map(move |(key, history)| Found::of(key, history.at(point)?)))
    }

    /// One key as this view sees it.
    pub fn get(self, key: &[u8]) -> Option<Found<'s>> {
        let (key, history) = self.store.keys.get_key_value(key)?;
        Found::of(key, history.at(self.point)?)
    }

    /// How many keys of `span` a read or a deletion examines, deleted keys that are not swept yet
    /// included; it counts no further than `most`. Members differ in this number, so it must not
    /// influence what a command does.
    pub(crate) fn examined(self, span: Span<'_>, most: usize) -> usize {
        let Some(bounds) = span.bounds() else { return 0 };
        self.store.keys.range::<[u8], _>(bounds).take(most).count()
    }

    /// The keys of `span` as they are now.
    pub fn newest(self, span: Span<'s>) -> impl Iterator<Item = Found<'s>> + 's {
        let newest = self.find(span, 0).ok();
        newest.into_iter().flatten()
    }
}

impl<'s> Found<'s> {
    /// The key in this version, unless it is a tombstone.
    pub(super) fn of(key: &'s Bytes, version: &'s Version) -> Option<Found<'s>> {
        let value = version.value.as_ref()?;
        Some(Found { key, modified: version.revision.main, value })
    }

    /// The key and its value as etcd's API sends them.
    pub fn to_key_value(self) -> KeyValue {
        KeyValue {
            key: self.key.clone(),
            create_revision: self.value.created,
            mod_revision: self.modified,
            version: self.value.version,
            value: self.value.bytes.clone(),
            lease: self.value.lease,
        }
    }
}
