//! The conformance suite on `openraft-memstore` 0.10.

use std::sync::Arc;

use harness::conformance::opened_by;
use openraft_adapter::v010::{OpenraftLog010, adapt};
use openraft_adapter::{Data, Declared, LACKS, bytes_of, text_of};
use openraft_memstore::{ClientRequest, MemLogStore, TypeConfig, new_mem_store};
use raft_core::storage::LogError;

/// A command of the suite is the status of a client.
const DATA: Data<ClientRequest> = Data::new(
    |bytes| ClientRequest { client: String::new(), serial: 0, status: text_of(&bytes) },
    |request| bytes_of(&request.status),
);

async fn open() -> Result<OpenraftLog010<TypeConfig, Arc<MemLogStore>>, LogError> {
    let (log, _machine) = new_mem_store();
    adapt(log, DATA, Declared::volatile("openraft-memstore 0.10")).await
}

harness::conformance!(memstore_010, opened_by(open).that_lacks(LACKS));
