//! Runs one check on one store, on its own thread, with a time limit.

use std::any::Any;
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::journal::Journal;
use super::place::{Factory, Place};
use super::report::{Broken, Checked, Halt, Outcome};
use super::subject::{Subject, Way};
use super::tally::Tally;
use super::test_name::{Rerun, TestName};
use super::{CHECKS, Check, second, tally};

/// How long a check may take for one step. A store that hangs is broken too, and must be reported.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The promises that a panic and a hang break.
const PANICS: usize = 20;
const HANGS: usize = 21;

/// The beginning of each panic message that reports a failure of the engine, and not of the store.
const THE_ENGINE: &str = "the engine";

/// The most lines of a journal that a failure prints; the last ones.
const PRINTED_LINES: usize = 60;

/// A check that a store failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The promise; `None` if the engine failed.
    pub promise: Option<usize>,
    /// What was seen.
    pub what: String,
    /// How the requests were made.
    pub way: Way,
    /// The steps that led there.
    pub journal: Vec<String>,
    /// The environment variables that make the check repeat the same steps, in the form in which
    /// they are written before a command.
    pub settings: String,
}

/// Runs a check both ways, and panics with the full report if it fails. This is the body of each
/// test that [`conformance!`](macro@crate::conformance) makes.
pub fn hold(family: &str, name: &str, place: fn() -> Box<dyn Place>, test: TestName) {
    let found = CHECKS.iter().find(|check| check.family == family && check.name == name);
    let check = found.expect("tests and table are made from one list");
    if let Some(dir) = second::asked() {
        second::open_and_exit(place().as_mut(), &dir);
    }
    let factory: Factory = Arc::new(place);
    let rerun = Rerun::new(test, check.name);
    match run_as(LIMIT, check, &factory, Some(rerun)) {
        Ok(Outcome::Held) => {}
        Ok(Outcome::DoesNotApply(why)) => println!("does not apply: {why}"),
        Ok(Outcome::Skipped(why)) => skip(check, &why),
        Ok(Outcome::Thin(why)) => report_thin(check, why),
        Err(failure) => {
            let (settings, command) = (&failure.settings, test.command(name));
            panic!("{failure}\nrun it again: {settings}{command}")
        }
    }
}

/// Prints that a check proves little for this store. The test runner does not capture the line.
fn report_thin(check: &Check, why: &str) {
    // A closed output is not a failure of the store.
    let _ = writeln!(std::io::stderr(), "thin: {}: {why}", check.full_name());
}

/// Prints which check was skipped; the test runner does not capture the line. With
/// `KONTIKI_REQUIRE=all`, which is for machines that can run all checks, the check fails instead.
pub(crate) fn skip(check: &Check, why: &str) {
    static SKIPPED: AtomicU64 = AtomicU64::new(0);
    let required = std::env::var("KONTIKI_REQUIRE").is_ok_and(|what| what == "all");
    assert!(!required, "KONTIKI_REQUIRE=all, but {why}");
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    // A closed output is not a failure of the store.
    let _ = writeln!(std::io::stderr(), "skipped: {}: {why} ({count} so far)", check.full_name());
}

/// Runs a check through the small verbs, then through `write`.
pub fn run(check: &'static Check, factory: &Factory) -> Result<Outcome, Failure> {
    run_within(LIMIT, check, factory)
}

/// Like [`run`], with another time limit for a step, for runs in which many stores are expected to
/// hang.
pub fn run_within(
    limit: Duration,
    check: &'static Check,
    factory: &Factory,
) -> Result<Outcome, Failure> {
    run_as(limit, check, factory, None)
}

/// Like [`run`], in a test of this name, which a check may start again in a separate process.
///
/// The test must start with [`open_if_asked`].
pub fn run_in(
    test: TestName,
    name: &'static str,
    check: &'static Check,
    factory: &Factory,
) -> Result<Outcome, Failure> {
    run_as(LIMIT, check, factory, Some(Rerun::new(test, name)))
}

/// Opens the store and exits, if a check started this process as a second opener.
pub fn open_if_asked(factory: &Factory) {
    if let Some(dir) = second::asked() {
        second::open_and_exit(factory().as_mut(), &dir);
    }
}

fn run_as(
    limit: Duration,
    check: &'static Check,
    factory: &Factory,
    rerun: Option<Rerun>,
) -> Result<Outcome, Failure> {
    let (began, tally) = (Instant::now(), Tally::default());
    let first = run_one_way(limit, check, factory, Way::SmallVerbs, rerun, &tally)?;
    let second = run_one_way(limit, check, factory, Way::Write, rerun, &tally)?;
    let outcome = if matches!(first, Outcome::Thin(_)) { first } else { second };
    tally::count(check.family, &tally, &outcome, began.elapsed());
    Ok(outcome)
}

fn run_one_way(
    limit: Duration,
    check: &'static Check,
    factory: &Factory,
    way: Way,
    rerun: Option<Rerun>,
    tally: &Tally,
) -> Result<Outcome, Failure> {
    let journal = Journal::with(tally.clone());
    let (inside, factory) = (journal.clone(), factory.clone());
    on_a_thread(limit, check.name, way, &journal, async move || {
        let mut subject = Subject::begin(factory, way, inside).await?;
        subject.rerun = rerun;
        (check.scenario)(&mut subject).await
    })
}

/// Runs work on its own thread and runtime. A panic or a hang is a failure too.
pub(crate) fn on_a_thread(
    limit: Duration,
    name: &str,
    way: Way,
    journal: &Journal,
    work: impl AsyncFnOnce() -> Checked + Send + 'static,
) -> Result<Outcome, Failure> {
    let (sender, receiver) = channel();
    let work = move || {
        let attempt = AssertUnwindSafe(|| on_a_runtime(work));
        // The receiver is gone once the limit is exceeded.
        let _ = sender.send(catch_unwind(attempt));
    };
    Builder::new().name(name.to_owned()).spawn(work).expect("a thread can be made");
    let fail = |promise, what| {
        let (lines, settings) = (journal.lines(), journal.tally().settings());
        Err(Failure { promise, what, way, journal: lines, settings })
    };
    match end_or_hang(limit, &receiver, journal) {
        Ok(Ok(Ok(()))) => Ok(Outcome::Held),
        Ok(Ok(Err(Halt::DoesNotApply(why)))) => Ok(Outcome::DoesNotApply(why)),
        Ok(Ok(Err(Halt::Skipped(why)))) => Ok(Outcome::Skipped(why)),
        Ok(Ok(Err(Halt::Thin(why)))) => Ok(Outcome::Thin(why)),
        Ok(Ok(Err(Halt::LeftOut(why)))) => {
            println!("the rest of the check is left out: {why}");
            Ok(Outcome::Held)
        }
        Ok(Ok(Err(Halt::Broken(Broken { promise, what })))) => fail(Some(promise), what),
        Ok(Err(panic)) => {
            let message = message(panic.as_ref());
            let promise = (!message.starts_with(THE_ENGINE)).then_some(PANICS);
            fail(promise, format!("a panic: {message}"))
        }
        Err(RecvTimeoutError::Timeout) => fail(Some(HANGS), format!("no step for {limit:?}")),
        Err(RecvTimeoutError::Disconnected) => {
            fail(None, "the check's thread has ended".to_owned())
        }
    }
}

/// Waits for the end of a check, as long as it continues to make steps.
fn end_or_hang<T>(
    limit: Duration,
    end: &Receiver<T>,
    journal: &Journal,
) -> Result<T, RecvTimeoutError> {
    loop {
        let before = journal.steps();
        match end.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) if journal.steps() != before => {}
            ended => return ended,
        }
    }
}

/// The store may need a tokio runtime with its timer and its network; a store that needs none is
/// not affected.
fn on_a_runtime(work: impl AsyncFnOnce() -> Checked) -> Checked {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime can be made");
    runtime.block_on(work())
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what.clone();
        match self.promise {
            Some(promise) => write!(f, "{}", Broken { promise, what })?,
            None => write!(f, "no promise can be named: {what}")?,
        }
        let way = match self.way {
            Way::SmallVerbs => "through the small verbs",
            Way::Write => "through `write`",
        };
        write!(f, "\nwhat led there, {way}:")?;
        let skipped = self.journal.len().saturating_sub(PRINTED_LINES);
        if skipped > 0 {
            write!(f, "\n    ... {skipped} steps before")?;
        }
        for (number, line) in self.journal.iter().enumerate().skip(skipped) {
            write!(f, "\n{:5}. {line}", number + 1)?;
        }
        Ok(())
    }
}
