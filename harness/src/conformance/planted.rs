//! How the suite itself is tested: each planted bug in a store has a check that must find it and a
//! promise that the check must name.

use std::fmt::Debug;
use std::time::Duration;

use super::place::Factory;
use super::report::Outcome;
use super::run::{run, run_within, skip};
use super::settings::{do_everything, is_deep};
use super::{CHECKS, Check};

/// A planted bug, the full name of the check that must find it (its *killer*), and the number of
/// the promise that the check must name.
pub type Killer<B> = (B, &'static str, usize);

/// How long the matrix waits for a check that a bug makes hang.
const PATIENCE: Duration = Duration::from_secs(3);

impl Check {
    /// Its family and its name, as in a list of tests.
    pub fn full_name(&self) -> String {
        format!("{}::{}", self.family, self.name)
    }

    /// The check with this full name; panics where there is none.
    pub fn named(name: &str) -> &'static Check {
        let found = CHECKS.iter().find(|check| check.full_name() == name);
        found.unwrap_or_else(|| panic!("there is no check {name}"))
    }
}

/// Runs the check of each bug on a store that has the bug. Panics with a list of all bugs that were
/// not found, or that were found with a wrong promise. A check that cannot run on this machine is
/// skipped, as [`conformance!`](macro@crate::conformance) does.
pub fn each_is_found<B: Copy + Debug>(killers: &[Killer<B>], planted: impl Fn(B) -> Factory) {
    do_everything();
    let mut missed = Vec::new();
    for (bug, killer, promise) in killers {
        let check = Check::named(killer);
        match run(check, &planted(*bug)) {
            Ok(Outcome::Skipped(why)) => skip(check, &why),
            Err(failure) if failure.promise == Some(*promise) => {
                println!("{bug:?}: P{promise} by {killer}\n{failure}\n");
            }
            Err(failure) => missed.push(format!("{bug:?}: P{promise} by {killer}, not\n{failure}")),
            Ok(outcome) => missed.push(format!("{bug:?}: not found by {killer}: {outcome:?}")),
        }
    }
    assert!(missed.is_empty(), "not found as expected:\n{}", missed.join("\n"));
}

/// Prints all checks that find each bug. Runs only with `KONTIKI_DEEP`, since it takes long.
pub fn print_matrix<B: Copy + Debug>(killers: &[Killer<B>], planted: impl Fn(B) -> Factory) {
    if !is_deep() {
        return println!("only with KONTIKI_DEEP=1");
    }
    for (bug, killer, _) in killers {
        let factory = planted(*bug);
        let finds = |check: &&'static Check| run_within(PATIENCE, check, &factory).is_err();
        let failed: Vec<String> = CHECKS.iter().filter(finds).map(Check::full_name).collect();
        println!("{bug:?}: {}", failed.join(", "));
        let is_skipped = matches!(run(Check::named(killer), &factory), Ok(Outcome::Skipped(_)));
        assert!(is_skipped || failed.iter().any(|it| it == killer), "{bug:?} survives {killer}");
    }
}
