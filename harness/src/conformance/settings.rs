//! How much a run does: what the environment says, and what a slow store can afford.

use std::env;
use std::time::Duration;

/// What a check that opens the store again and again may take for it by default, each way.
const BUDGET: Duration = Duration::from_secs(5);

/// Whether a run may take long: `KONTIKI_DEEP`.
pub fn is_deep() -> bool {
    env::var_os("KONTIKI_DEEP").is_some()
}

/// A number that the environment gives.
pub(crate) fn setting(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// The seeds of a run: `KONTIKI_SEEDS` of them, one unless told otherwise, from `KONTIKI_SEED` on.
pub(crate) fn seeds(first: u64) -> std::ops::Range<u64> {
    let first = setting("KONTIKI_SEED").unwrap_or(first);
    first..first.saturating_add(setting("KONTIKI_SEEDS").unwrap_or(1))
}

/// How many trials, of so many openings each, a check makes by default: `most`, unless the store
/// opens so slowly that they would not fit into five seconds; but never fewer than `least`. Under
/// `KONTIKI_DEEP` time does not count.
pub(crate) fn affordable(most: u64, least: u64, openings: u32, opening: Duration) -> u64 {
    if is_deep() {
        return most;
    }
    let trial = (opening * openings).as_micros().max(1);
    let fitting = BUDGET.as_micros() / trial;
    u64::try_from(fitting).unwrap_or(most).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::affordable;

    #[test]
    fn a_slow_store_is_tried_less_often_but_never_too_little() {
        let images = |millis| affordable(40, 6, 7, Duration::from_millis(millis));
        assert_eq!([0, 10, 17, 36, 90, 2000].map(images), [40, 40, 40, 19, 7, 6]);
    }
}
