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
