//! The verdict on openraft's own durable stores: the suite must find exactly the failures that the
//! table in `docs/conformance.md` lists.
//!
//! A check that cannot run on this machine counts neither for nor against the table.

use std::collections::BTreeSet;
use std::sync::Arc;

use harness::conformance::{CHECKS, Factory, Outcome, in_dir, run};
use openraft_adapter::{Declared, LACKS};

const PAGE: &str = include_str!("../../../docs/conformance.md");

/// The content of the table about a store with one declaration.
struct Documented {
    promises: BTreeSet<String>,
    checks: BTreeSet<String>,
}

fn documented(store: &str, declared: &str) -> Documented {
    let (mut promises, mut checks) = (BTreeSet::new(), BTreeSet::new());
    let row = format!("| `{store}` | {declared} |");
    assert!(PAGE.contains(&row), "the page has no row of {store}, {declared}");
    for line in PAGE.lines().filter(|line| line.starts_with(&row)) {
        let mut cells = line.split('|').map(str::trim).skip(3);
        promises.extend(cells.next().map(str::to_owned));
        let names = cells.next().unwrap_or_default().split('`').filter(|it| it.contains("::"));
        checks.extend(names.map(str::to_owned));
    }
    Documented { promises, checks }
}

/// Runs the whole suite, and compares its findings with the table: the same checks must fail, and
/// only with promises that the table names. If two things are lost, the number of moments that the
/// machine has time for decides which of them a check meets first, and so which promise it names.
fn hold(store: &str, declared: &str, factory: Factory) {
    let Documented { promises, checks: mut documented } = documented(store, declared);
    let mut found = BTreeSet::new();
    for check in CHECKS {
        let name = check.full_name();
        match run(check, &factory) {
            Err(failure) => {
                println!("{store}, {declared}: {name}\n{failure}\n");
                let promise =
                    failure.promise.map_or("the engine".to_owned(), |it| format!("P{it}"));
                assert!(promises.contains(&promise), "{name}: the page does not list {promise}");
                found.insert(name);
            }
            Ok(Outcome::Skipped(why)) => {
                println!("{name}: {why}");
                documented.remove(&name);
            }
            Ok(_) => {}
        }
    }
    let missing: Vec<_> = documented.difference(&found).collect();
    let new: Vec<_> = found.difference(&documented).collect();
    assert!(
        missing.is_empty() && new.is_empty(),
        "the page lists checks that do not fail: {missing:#?}, and does not list: {new:#?}"
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
