//! `openraft-rocksstore`: a log in RocksDB.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use harness::conformance::workbench::now;
use openraft_rocksstore::{RocksRequest, RocksStore, TypeConfig};

use super::{
    Adaptor, Data, Declared, LogError, OpenraftLog09, Path, adapt, bytes_of, not_opened, text_of,
};

/// A command of the suite is a value.
const DATA: Data<RocksRequest> = Data::new(
    |bytes| RocksRequest::Set { key: String::new(), value: text_of(&bytes) },
    |RocksRequest::Set { value, .. }| bytes_of(value),
);

/// The store as the suite uses it.
pub type Log = OpenraftLog09<TypeConfig, Adaptor<TypeConfig, Arc<RocksStore>>>;

/// Opens the store in a directory, or creates one.
pub async fn open(dir: &Path, declared: Declared) -> Result<Log, LogError> {
    let opened = catch_unwind(AssertUnwindSafe(|| now(RocksStore::new(dir))));
    let store = opened.map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        not_opened(said.unwrap_or_default())
    })?;
    let (log, _machine) = Adaptor::new(store);
    adapt(log, DATA, declared).await
}
