//! Several stores run one random sequence of requests in lock-step, and must show the same after
//! each step.
//!
//! Each store is compared with its own model, as in every check, and after each step all
//! stores are compared with the first one. If a batch is refused, a store whose batches are not
//! atomic may have applied some of its verbs, so the sequence ends there.

use super::contents::Contents;
use super::journal::Journal;
use super::place::Factory;
use super::report::{Checked, Halt, promised};
use super::run::{Failure, LIMIT, on_a_thread};
use super::sequences::{Step, run_step, try_many};
use super::subject::{Subject, Way};

/// One of the stores, and its name for messages.
pub struct NamedStore {
    name: String,
    place: Factory,
}

impl NamedStore {
    /// A store in places that this factory makes.
    pub fn new(name: &str, place: Factory) -> NamedStore {
        NamedStore { name: name.to_owned(), place }
    }
}

/// Runs the random sequences of the suite on all stores at once, through the small verbs and then
/// through `write`. `KONTIKI_CASES`, `KONTIKI_SEED` and `KONTIKI_DEEP` set how many, which, and
/// whether the run is long.
pub fn lock_step(named_stores: Vec<NamedStore>) -> Result<(), Failure> {
    let named_stores = std::sync::Arc::new(named_stores);
    for way in [Way::SmallVerbs, Way::Write] {
        let (named_stores, journal) = (named_stores.clone(), Journal::default());
        let inside = journal.clone();
        on_a_thread(LIMIT, "lock_step", way, &journal, async move || {
            try_many(async |steps| run_on_each(&named_stores, steps, way, &inside).await).await
        })?;
    }
    Ok(())
}

/// Runs the sequence on every store, one step after another.
async fn run_on_each(
    named_stores: &[NamedStore],
    steps: &[Step],
    way: Way,
    journal: &Journal,
) -> Checked {
    journal.clear();
    let mut stores = Vec::new();
    for one in named_stores {
        let begun = Subject::begin(one.place.clone(), way, journal.under(&one.name)).await;
        stores.push((one.name.as_str(), named(&one.name, begun)?));
    }
    for (mark, step) in (0..).zip(steps) {
        for (name, log) in &mut stores {
            named(name, run_step(log, step, mark).await)?;
        }
        let Some(((first_name, first), others)) = stores.split_first_mut() else { return Ok(()) };
        if others.iter().any(|(_, log)| log.model != first.model) {
            // One store refused the whole batch, and another only a part of it: both are allowed.
            return Ok(());
        }
        let wanted = Contents::of(first.store()).await?;
        for (name, log) in others {
            let found = Contents::of(log.store()).await?;
            promised(10, found == wanted, || {
                format!("after the same steps {name} and {first_name} show different logs")
            })?;
        }
    }
    Ok(())
}

/// Names the store that broke the promise.
fn named<T>(name: &str, result: Checked<T>) -> Checked<T> {
    result.map_err(|halt| match halt {
        Halt::Broken(mut broken) => {
            broken.what = format!("{name}: {}", broken.what);
            Halt::Broken(broken)
        }
        other => other,
    })
}
