//! Random sequences against the model, with reopening as a step.

use crate::conformance::report::Checked;
use crate::conformance::sequences::{run_step, try_many};
use crate::conformance::subject::Subject;

/// Any sequence of sound and unsound requests, reads and reopenings has the results of the model.
pub async fn sound_and_unsound_steps_agree_with_the_model(log: &mut Subject) -> Checked {
    try_many(async |steps| {
        log.begin_anew().await?;
        for (mark, step) in (0..).zip(steps) {
            run_step(log, step, mark).await?;
        }
        Ok(())
    })
    .await
}
