//! How much a run does, as the environment sets it and as a slow store allows.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The time for openings that a check which opens the store repeatedly may use by default, each
/// way.
const BUDGET: Duration = Duration::from_secs(5);

/// Whether a run may take long: `KONTIKI_DEEP`.
pub fn is_deep() -> bool {
    env::var_os("KONTIKI_DEEP").is_some()
}

/// A number from the environment.
pub(crate) fn setting(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// The seeds of a run: `KONTIKI_SEEDS` of them, one by default, from `KONTIKI_SEED` on.
pub(crate) fn seeds(first: u64) -> std::ops::Range<u64> {
    let first = setting("KONTIKI_SEED").unwrap_or(first);
    first..first.saturating_add(setting("KONTIKI_SEEDS").unwrap_or(1))
}

/// Whether planted bugs are searched for, which must be found however busy the machine is.
static IS_WHOLE: AtomicBool = AtomicBool::new(false);

/// From now on, all runs of this process do everything, however slow the store is.
pub(crate) fn do_everything() {
    IS_WHOLE.store(true, Ordering::Relaxed);
}

/// Whether a slow store is tested as thoroughly as a fast one, so that what is found does not
/// depend on a clock: with `KONTIKI_REQUIRE=all` or `KONTIKI_DEEP`, and where planted bugs are
/// searched for.
pub(crate) fn is_whole() -> bool {
    let is_required = env::var("KONTIKI_REQUIRE").is_ok_and(|what| what == "all");
    is_required || is_deep() || IS_WHOLE.load(Ordering::Relaxed)
}

/// The number of runs, with `openings` openings each, that a check makes by default. It is `most`,
/// unless the store opens so slowly that these runs would take more than five seconds; it is never
/// below `least`. It is `most` where [`is_whole`].
pub(crate) fn affordable(most: u64, least: u64, openings: u32, opening: Duration) -> u64 {
    if is_whole() { most } else { fitting(opening * openings).clamp(least, most) }
}

/// How many runs of this length fit into the budget.
fn fitting(run: Duration) -> u64 {
    let count = BUDGET.as_micros() / run.as_micros().max(1);
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::fitting;

    #[test]
    fn a_slow_store_is_tried_less_often() {
        let images = |millis: u64| fitting(Duration::from_millis(7 * millis));
        assert_eq!([10, 17, 36, 90, 2000].map(images), [71, 42, 19, 7, 0]);
    }
}
