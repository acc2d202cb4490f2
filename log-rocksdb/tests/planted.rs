//! Bugs that this database invites to, planted in the log, and found by the suite.
//!
//! A commit that is not synced is its commonest setting, and no suite without power cuts can tell
//! it from a durable one: a process that is killed loses nothing by it. A range of tables that is
//! dropped includes its end; the log itself had that bug.

#![cfg(target_os = "linux")]

use std::sync::Arc;

use harness::conformance::planted::{Killer, each_is_found};
use harness::conformance::{Check, Factory, Outcome, in_dir, run};
use log_rocksdb::{Mutant, RocksLog, RocksLogConfig};

/// Each planted bug, the checks that must find it, and the promise that they must name.
const KILLERS: &[Killer<Mutant>] = &[
    (Mutant::WritesWithoutSync, "power_loss::entries_survive", 1),
    (Mutant::WritesWithoutSync, "power_loss::votes_survive", 1),
    (Mutant::WritesWithoutSync, "power_loss::what_is_rewritten_survives", 1),
    (Mutant::DropsTheTableOfTheFirst, "purge_and_reset::a_purge_takes_nothing_behind_it", 10),
];

#[test]
fn each_planted_bug_is_found_by_its_check() {
    each_is_found(KILLERS, planted);
}

/// It is the power that tells: a process that is killed loses nothing of what the kernel holds.
#[test]
fn a_suite_without_power_cuts_would_not_see_it() {
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
