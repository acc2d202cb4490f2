//! The conformance suite on `openraft-memstore` 0.9, behind openraft's own `Adaptor`.

use harness::conformance::opened_by;
use openraft_0_9::storage::Adaptor;
use openraft_adapter::v09::{OpenraftLog09, adapt};
use openraft_adapter::{Data, Declared, LACKS, bytes_of, text_of};
use openraft_memstore_0_9::{ClientRequest, MemStore, TypeConfig};
use raft_core::storage::LogError;
use std::sync::Arc;

/// A command of the suite is the status of a client.
const DATA: Data<ClientRequest> = Data::new(
    |bytes| ClientRequest { client: String::new(), serial: 0, status: text_of(&bytes) },
    |request| bytes_of(&request.status),
);

type Log = OpenraftLog09<TypeConfig, Adaptor<TypeConfig, Arc<MemStore>>>;

async fn open() -> Result<Log, LogError> {
    let (log, _machine) = Adaptor::new(MemStore::new_async().await);
    adapt(log, DATA, Declared::volatile("openraft-memstore 0.9")).await
}

harness::conformance!(memstore_09, opened_by(open).that_lacks(LACKS));
