//! What the environment says about a run.

use std::env;

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
