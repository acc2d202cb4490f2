//! Reading: the store as one revision sees it.

use bytes::Bytes;

use crate::api::mvccpb::KeyValue;
use crate::errors::Refusal;

use super::{Span, Store, Value};

/// The store as it is at one moment, maybe in the middle of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct View<'s> {
    store: &'s Store,
    revision: i64,
}

/// A key that exists, in the version that was asked for.
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
    pub(super) fn new(store: &'s Store, revision: i64) -> View<'s> {
        View { store, revision }
    }

    /// The newest revision that this view sees.
    pub fn revision(self) -> i64 {
        self.revision
    }

    /// The lowest revision that can be read; negative while nothing was compacted.
    pub fn compacted(self) -> i64 {
        self.store.compacted
    }

    /// The keys of `span` that exist at revision `at`, in order; 0 or less means the newest.
    pub fn find(
        self,
        span: Span<'s>,
        at: i64,
    ) -> Result<impl Iterator<Item = Found<'s>> + 's, Refusal> {
        if at > self.revision {
            return Err(Refusal::FutureRevision);
        }
        let at = if at <= 0 { self.revision } else { at };
        if at < self.store.compacted {
            return Err(Refusal::Compacted);
        }
        let bounds = span.bounds().into_iter();
        let keys = bounds.flat_map(|bounds| self.store.keys.range::<[u8], _>(bounds));
        Ok(keys.filter_map(move |(key, history)| {
            let version = history.at(at)?;
            let value = version.value.as_ref()?;
            Some(Found { key, modified: version.revision.main, value })
        }))
    }

    /// One key as it is now.
    pub fn get(self, key: &[u8]) -> Option<Found<'s>> {
        let (key, history) = self.store.keys.get_key_value(key)?;
        let version = history.last()?;
        let value = version.value.as_ref()?;
        Some(Found { key, modified: version.revision.main, value })
    }

    /// The keys of `span` as they are now.
    pub fn newest(self, span: Span<'s>) -> impl Iterator<Item = Found<'s>> + 's {
        let newest = self.find(span, 0).ok();
        newest.into_iter().flatten()
    }
}

impl Found<'_> {
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
