//! What a run of the suite counts: for each check, the settings for the command that runs it again;
//! for each family, the summary that a test binary prints when it ends.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::report::Outcome;

/// What one check counts. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    images: Arc<AtomicU64>,
    is_reduced: Arc<AtomicBool>,
    turned_over: Arc<AtomicBool>,
    settings: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Tally {
    /// Counts opened images of a disk.
    pub(crate) fn add_images(&self, images: u64) {
        self.images.fetch_add(images, Ordering::Relaxed);
    }

    /// Notes that the check did less than usual, since the store is slow.
    pub(crate) fn reduce(&self) {
        self.is_reduced.store(true, Ordering::Relaxed);
    }

    /// Notes that the store rotated, flushed or checkpointed its files.
    pub(crate) fn turn_over(&self) {
        self.turned_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_turned_over(&self) -> bool {
        self.turned_over.load(Ordering::Relaxed)
    }

    /// Notes an environment variable that makes the check do the same again.
    pub(crate) fn set(&self, name: &'static str, value: u64) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.insert(name, value);
    }

    /// The settings, as they are written before a command.
    pub(crate) fn settings(&self) -> String {
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.iter().map(|(name, value)| format!("{name}={value} ")).collect()
    }
}

/// The results of the checks of one family, in this process.
#[derive(Debug, Default)]
struct Family {
    checks: u64,
    images: u64,
    time: Duration,
    skipped: u64,
    do_not_apply: u64,
    thin: u64,
    reduced: u64,
}

static FAMILIES: Mutex<BTreeMap<String, Family>> = Mutex::new(BTreeMap::new());

/// Counts a check that found nothing wrong.
pub(crate) fn count(family: &str, tally: &Tally, outcome: &Outcome, time: Duration) {
    let mut families = FAMILIES.lock().unwrap_or_else(PoisonError::into_inner);
    let family = families.entry(family.to_owned()).or_default();
    family.checks += 1;
    family.images += tally.images.load(Ordering::Relaxed);
    family.time += time;
    family.reduced += u64::from(tally.is_reduced.load(Ordering::Relaxed));
    match outcome {
        Outcome::Held => {}
        Outcome::Thin(_) => family.thin += 1,
        Outcome::DoesNotApply(_) => family.do_not_apply += 1,
        Outcome::Skipped(_) => family.skipped += 1,
    }
}

/// The summary, a line for each family.
fn summary(families: &BTreeMap<String, Family>) -> String {
    let mut text = String::new();
    for (name, family) in families {
        let Family { checks, images, time, skipped, do_not_apply, thin, reduced } = family;
        let seconds = time.as_secs_f64();
        let written = writeln!(
            text,
            "conformance, {name}: {checks} checks, {images} images, {seconds:.1} s, {skipped} \
             skipped, {do_not_apply} do not apply, {reduced} reduced, {thin} thin"
        );
        debug_assert!(written.is_ok(), "writing to a string does not fail");
    }
    text
}

/// Prints the summary when the test binary ends, since the test runner offers no such hook.
///
/// Safety: the function takes no arguments and returns nothing, and the C library calls it once,
/// when the process exits.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_THE_END: extern "C" fn() = print_summary;

#[cfg(target_os = "linux")]
extern "C" fn print_summary() {
    let families = FAMILIES.lock().unwrap_or_else(PoisonError::into_inner);
    // A single check that was run alone has printed everything already. A closed output is no
    // reason to fail.
    if families.values().map(|family| family.checks).sum::<u64>() > 1 {
        let _ = std::io::stderr().write_all(summary(&families).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_summarized_in_one_line() {
        let family = Family { checks: 3, images: 420, reduced: 1, ..Family::default() };
        let families = BTreeMap::from([("power_loss".to_owned(), family)]);
        let line = "conformance, power_loss: 3 checks, 420 images, 0.0 s, 0 skipped, 0 do not \
                    apply, 1 reduced, 0 thin\n";
        assert_eq!(summary(&families), line);
    }

    #[test]
    fn a_command_repeats_the_settings_that_it_ran_with() {
        let tally = Tally::default();
        tally.set("KONTIKI_SEED", 7);
        tally.clone().set("KONTIKI_IMAGES", 40);
        assert_eq!(tally.settings(), "KONTIKI_IMAGES=40 KONTIKI_SEED=7 ");
    }
}
