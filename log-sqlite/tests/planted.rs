//! A log that does not wait for the disk: the power cuts of the suite find it.
//!
//! A commit that is not synced is a common setting of this database, and no suite without power
//! cuts can distinguish it from a durable one: a process that is killed loses nothing by it.

#![cfg(target_os = "linux")]

use std::sync::Arc;

use harness::conformance::planted::{Killer, each_is_found};
use harness::conformance::{Check, Factory, Outcome, in_dir, run};
use log_sqlite::{Mutant, SqliteLog, SqliteLogConfig};

/// Each planted bug, the checks that must find it, and the promise that they must name.
const KILLERS: &[Killer<Mutant>] = &[
    (Mutant::SynchronousNormal, "power_loss::entries_survive", 1),
    (Mutant::SynchronousNormal, "power_loss::votes_survive", 8),
    (Mutant::SynchronousNormal, "power_loss::rewritten_entries_survive", 7),
];

#[test]
fn each_planted_bug_is_found_by_its_check() {
    each_is_found(KILLERS, planted);
}

/// Only a power cut shows the bug: a process that is killed loses nothing that the kernel holds.
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
            SqliteLog::open(SqliteLogConfig {
                mutant: Some(mutant),
                checkpoint_bytes: 60 << 10,
                ..SqliteLogConfig::new(dir)
            })
        }))
    })
}
