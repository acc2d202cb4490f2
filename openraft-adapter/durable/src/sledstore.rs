//! `openraft-sledstore`: a log in sled.

use std::sync::Arc;

use openraft_sledstore::{ExampleRequest, SledStore, TypeConfig};

use super::{
    Adaptor, Data, Declared, LogError, OpenraftLog09, Path, adapt, bytes_of, not_opened, text_of,
};

/// A command of the suite is a value.
const DATA: Data<ExampleRequest> = Data::new(
    |bytes| ExampleRequest::Set { key: String::new(), value: text_of(&bytes) },
    |ExampleRequest::Set { value, .. }| bytes_of(value),
);

/// The store as the suite uses it.
pub type Log = OpenraftLog09<TypeConfig, Adaptor<TypeConfig, Arc<SledStore>>>;

/// Opens the store in a directory, or creates one.
pub async fn open(dir: &Path, declared: Declared) -> Result<Log, LogError> {
    let db = sled::open(dir).map_err(|error| not_opened(error.to_string()))?;
    let (log, _machine) = Adaptor::new(SledStore::new(Arc::new(db)).await);
    adapt(log, DATA, declared).await
}
