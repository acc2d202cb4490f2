//! Each check of the suite on `openraft-sledstore`, as a separate test: once with the store
//! declared as openraft requires it, and once declared to survive only the end of its process.

use harness::conformance::in_dir;
use kontiki_openraft_durable::sledstore::open;
use openraft_adapter::{Declared, LACKS};

harness::conformance!(
    as_openraft_asks,
    in_dir(async |dir| open(dir, Declared::durable("openraft-sledstore")).await).that_lacks(LACKS)
);

harness::conformance!(
    while_the_machine_runs,
    in_dir(async |dir| open(dir, Declared::process_crash("openraft-sledstore")).await)
        .that_lacks(LACKS)
);
