//! The family `power_loss` where there is no Linux: each check is skipped, and says so.

use super::report::{Checked, Halt};
use super::subject::Subject;

macro_rules! skipped {
    ($($check:ident)*) => {
        $(
            /// Needs Linux.
            pub async fn $check(_: &mut Subject) -> Checked {
                Err(Halt::Skipped("the power is cut on Linux only".to_owned()))
            }
        )*
    };
}

skipped! {
    entries_survive
    votes_survive
    what_is_rewritten_survives
    a_purge_survives
    a_reset_survives
    the_identity_survives
    a_batch_survives
    a_closed_store_survives
    a_dropped_store_survives
    a_torn_write_is_no_entry
    a_long_life_survives
    random_batches_survive
    a_real_power_cut_takes_nothing
}
