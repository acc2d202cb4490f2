//! Several stores side by side: one random sequence of requests, and all show the same.
//!
//! Each store runs beside a model of its own, as in every check, and after each step all of them
//! are compared with the first. Where a batch was refused, a store whose batch is not one unit may
//! keep some of its verbs; there the sequence ends.

use super::journal::Journal;
use super::place::Factory;
use super::report::{Checked, Halt, promised};
use super::run::{Failure, LIMIT, on_a_thread};
use super::sequences::{Step, run_step, try_many};
use super::sight::Sight;
use super::subject::{Subject, Way};

/// A store in the row, and its name for people.
pub struct Contestant {
    name: String,
    place: Factory,
}

impl Contestant {
    /// A store that lives in places like this.
    pub fn new(name: &str, place: Factory) -> Contestant {
        Contestant { name: name.to_owned(), place }
    }
}

/// Runs the random sequences of the suite on all stores at once, through the small verbs and then
/// through `write`. `KONTIKI_CASES`, `KONTIKI_SEED` and `KONTIKI_DEEP` say how many, which, and
/// whether for long.
pub fn lock_step(row: Vec<Contestant>) -> Result<(), Failure> {
    let row = std::sync::Arc::new(row);
    for way in [Way::SmallVerbs, Way::Write] {
        let (row, journal) = (row.clone(), Journal::default());
        let inside = journal.clone();
        on_a_thread(LIMIT, "lock_step", way, &journal, async move || {
            try_many(async |steps| run_row(&row, steps, way, &inside).await).await
        })?;
    }
    Ok(())
}

/// Runs the sequence on every store of the row, one step after the other.
async fn run_row(row: &[Contestant], steps: &[Step], way: Way, journal: &Journal) -> Checked {
    journal.clear();
    let mut stores = Vec::new();
    for one in row {
        let begun = Subject::begin(one.place.clone(), way, journal.under(&one.name)).await;
        stores.push((one.name.as_str(), named(&one.name, begun)?));
    }
    for (mark, step) in (0..).zip(steps) {
        for (name, log) in &mut stores {
            named(name, run_step(log, step, mark).await)?;
        }
        let Some(((first_name, first), others)) = stores.split_first_mut() else { return Ok(()) };
        if others.iter().any(|(_, log)| log.model != first.model) {
            // Refused as a whole here, in part there: both may be.
            return Ok(());
        }
        let wanted = Sight::of(first.store()).await?;
        for (name, log) in others {
            let found = Sight::of(log.store()).await?;
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
