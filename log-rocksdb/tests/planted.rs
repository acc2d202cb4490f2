//! Plants bugs in the log that are easy to make with this database; the suite must find them.
//!
//! An unsynced commit is RocksDB's default, and a suite without power cuts cannot distinguish it
//! from a durable one: killing a process loses no such write. A dropped range of tables includes
//! its end; an earlier version of the log had that bug.

#![cfg(target_os = "linux")]

use std::sync::Arc;

use harness::conformance::planted::{Killer, each_is_found};
use harness::conformance::{Check, Factory, Outcome, in_dir, run};
use log_rocksdb::{Mutant, RocksLog, RocksLogConfig};

/// Each planted bug, the checks that must find it, and the promise that they must name.
const KILLERS: &[Killer<Mutant>] = &[
    (Mutant::WritesWithoutSync, "power_loss::entries_survive", 1),
    (Mutant::WritesWithoutSync, "power_loss::votes_survive", 1),
    (Mutant::WritesWithoutSync, "power_loss::rewritten_entries_survive", 1),
    (Mutant::DropsTheTableOfTheFirst, "purge_and_reset::a_purge_removes_nothing_after_it", 10),
];

#[test]
fn each_planted_bug_is_found_by_its_check() {
    each_is_found(KILLERS, planted);
}

/// Only a power cut shows the bug: killing a process loses nothing that the kernel has accepted.
#[test]
fn a_suite_without_power_cuts_does_not_find_it() {
    for name in ["reopening::everything_comes_back", "reopening::the_hard_state_comes_back"] {
        let found = run(Check::named(name), &planted(KILLERS[0].0));
        assert!(matches!(found, Ok(Outcome::Held)), "{name}: {found:?}");
    }
}

fn planted(mutant: Mutant) -> Factory {
    Arc::new(move || {
        Box::new(in_dir(async move |dir| {
            let sound = RocksLogConfig::new(dir).with_memtable(256 << 10);
            RocksLog::open(RocksLogConfig { mutant: Some(mutant), ..sound })
        }))
    })
}
