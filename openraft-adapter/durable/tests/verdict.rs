//! The verdict on openraft's own durable stores: what the suite finds is what the table in
//! `docs/conformance.md` says, no more and no less.
//!
//! A check that this machine cannot make says nothing, for or against.

use std::collections::BTreeSet;
use std::sync::Arc;

use harness::conformance::{CHECKS, Factory, Outcome, in_dir, run};
use openraft_adapter::{Declared, LACKS};

const PAGE: &str = include_str!("../../../docs/conformance.md");

/// The rows of the table that begin with a store and what was declared of it: the promise and the
/// check of each finding.
fn told(store: &str, declared: &str) -> BTreeSet<String> {
    let rows = PAGE.lines().filter(|line| line.starts_with(&format!("| `{store}` | {declared} |")));
    let findings = rows.flat_map(|row| {
        let mut cells = row.split('|').map(str::trim).skip(3);
        let promise = cells.next().unwrap_or_default().to_owned();
        let checks = cells.next().unwrap_or_default().split('`').filter(|name| name.contains("::"));
        checks.map(move |check| format!("{promise} {check}")).collect::<Vec<_>>()
    });
    findings.collect()
}

/// Runs the whole suite, and holds what it finds to the table.
fn hold(store: &str, declared: &str, factory: Factory) {
    let row = format!("| `{store}` | {declared} |");
    assert!(PAGE.contains(&row), "the page has no row of {store}, {declared}");
    let mut told = told(store, declared);
    let mut found = BTreeSet::new();
    for check in CHECKS {
        match run(check, &factory) {
            Err(failure) => {
                let promise =
                    failure.promise.map_or("the engine".to_owned(), |it| format!("P{it}"));
                println!("{store}, {declared}: {}\n{failure}\n", check.full_name());
                found.insert(format!("{promise} {}", check.full_name()));
            }
            Ok(Outcome::Skipped(why)) => {
                println!("{}: {why}", check.full_name());
                told.retain(|finding| !finding.ends_with(&check.full_name()));
            }
            Ok(_) => {}
        }
    }
    let missing: Vec<_> = told.difference(&found).collect();
    let new: Vec<_> = found.difference(&told).collect();
    assert!(
        missing.is_empty() && new.is_empty(),
        "the page tells what is not found: {missing:#?}, and does not tell: {new:#?}"
    );
}

/// A test for each way in which a store may be declared.
macro_rules! verdict {
    ($store:ident, $name:literal, $feature:literal) => {
        #[cfg(feature = $feature)]
        mod $store {
            use super::*;
            use kontiki_openraft_durable::$store::open;

            fn declared(declared: fn(&'static str) -> Declared) -> Factory {
                Arc::new(move || {
                    let open = async move |dir: &std::path::Path| open(dir, declared($name)).await;
                    Box::new(in_dir(open).that_lacks(LACKS))
                })
            }

            #[test]
            fn as_openraft_asks() {
                hold($name, "as openraft asks", declared(|name| Declared::durable(name)));
            }

            #[test]
            fn while_the_machine_runs() {
                let declared = declared(|name| Declared::process_crash(name));
                hold($name, "while the machine runs", declared);
            }
        }
    };
}

verdict!(rocksstore, "openraft-rocksstore", "rocksdb");
verdict!(sledstore, "openraft-sledstore", "sled");
