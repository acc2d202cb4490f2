//! Carries out a change: plan, confirmation, progress, and Ctrl-C.
//!
//! The request waits at the leader until the change is committed. Meanwhile the leader's status
//! shows the progress. If the leader changes, the change is planned again at the next one and goes
//! on where it was: what is done is not done again. It goes on only if the new plan has the same
//! target, so that a change of another operator is never undone.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use kontiki_etcd::Client;
use kontiki_etcd::api::kontiki::v1::{
    AdminChange, AdminChangeRequest, AdminEdit, AdminPlan, AdminStatusResponse,
};
use kontiki_etcd::client::ClientError;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::ask::ask;
use crate::failure::Failure;
use crate::output::{print, print_json, print_line};

use super::arguments::How;
use super::plan::{Listed, Plan, listed, summary};
use super::{client, failed};

/// How long the leader may take; it gives a change up by itself when there is no progress.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The pause between two looks at the progress.
const LOOK: Duration = Duration::from_millis(200);

/// How often a change is asked for again after the leader has changed.
const ATTEMPTS: u32 = 10;

#[derive(Serialize)]
struct Outcome {
    changed: bool,
    members: Vec<Listed>,
}

/// Plans, shows and carries out a change.
pub async fn change(how: &How, edits: Vec<AdminEdit>) -> Result<ExitCode, Failure> {
    let mut planner = client(&how.to)?;
    let request = AdminChangeRequest { edits: edits.clone(), base: Bytes::new() };
    let made = planner.plan(request).await.map_err(|error| failed(&error))?;
    let plan = Plan::new(made.clone());
    if how.dry_run && how.json {
        print_json(&plan)?;
        return Ok(ExitCode::SUCCESS);
    }
    if plan.is_done() || how.dry_run {
        return finish(how, &plan, plan.now.clone());
    }
    if !how.json {
        print(&plan.text())?;
    }
    confirm(how, &plan)?;
    let members = carry_out(how, &edits, made).await?;
    if how.json {
        print_json(&Outcome { changed: true, members })?;
    } else {
        print_line(&format!("done:   {}", summary(&members)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The output if nothing is to be changed.
fn finish(how: &How, plan: &Plan, members: Vec<Listed>) -> Result<ExitCode, Failure> {
    if how.json {
        print_json(&Outcome { changed: false, members })?;
    } else if plan.is_done() {
        print_line(&format!("nothing to do: {}", summary(&members)))?;
    } else {
        print(&plan.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks on a terminal. Elsewhere `--yes` is needed.
fn confirm(how: &How, plan: &Plan) -> Result<(), Failure> {
    if how.yes {
        return Ok(());
    }
    let answer = if how.json { None } else { ask("make this change? [y/N]")? };
    match answer.map(|answer| answer.to_ascii_lowercase()).as_deref() {
        Some("y" | "yes") => Ok(()),
        Some(_) => Err(Failure::new("nothing was changed")),
        None => {
            let text = format!("the change to {} was not confirmed", summary(&plan.target));
            Err(Failure::new(text).advise("repeat the command with --yes"))
        }
    }
}

/// Asks the leader, and the next one if it changes, until the change is made or refused.
async fn carry_out(
    how: &How,
    edits: &[AdminEdit],
    mut plan: AdminPlan,
) -> Result<Vec<Listed>, Failure> {
    let target = plan.target.clone();
    for _ in 0..ATTEMPTS {
        let request = AdminChangeRequest { edits: edits.to_vec(), base: plan.base };
        let outcome = watched(how, request).await?;
        let error = match outcome {
            Ok(members) => return Ok(members),
            Err(error @ ClientError::Unknown { .. }) => error,
            Err(error) => return Err(failed(&error)),
        };
        let mut planner = client(&how.to)?.with_timeout(2 * how.to.timeout());
        let now = planner.plan(AdminChangeRequest::default()).await;
        let now = now.map_err(|_| failed(&error))?;
        if now.now == target {
            return Ok(listed(now.now));
        }
        let request = AdminChangeRequest { edits: edits.to_vec(), base: Bytes::new() };
        plan = planner.plan(request).await.map_err(|_| failed(&error))?;
        if plan.target != target {
            return Err(Failure::new("the membership was changed by another operator meanwhile")
                .advise("look at the new plan: repeat the command"));
        }
        eprintln!("the leader has changed; going on at the next one");
    }
    Err(Failure::new("the leader changed again and again").advise("repeat the command"))
}

/// Asks the leader, shows the progress until it answers, and passes Ctrl-C on to it.
async fn watched(
    how: &How,
    request: AdminChangeRequest,
) -> Result<Result<Vec<Listed>, ClientError>, Failure> {
    // One listener for the whole time: a signal that comes during a look at the progress must not
    // be lost.
    let pressed = signal(SignalKind::interrupt());
    let mut pressed =
        pressed.map_err(|error| Failure::of("signal handlers cannot be set", &error))?;
    let mut asking = client(&how.to)?.with_timeout(PATIENCE);
    let mut looking = client(&how.to)?;
    let answer = asking.change(request);
    tokio::pin!(answer);
    let (mut shown, mut is_cancelled) = (String::new(), false);
    loop {
        tokio::select! {
            answer = &mut answer => {
                return Ok(answer.map(|answer| listed(answer.members)));
            }
            _ = pressed.recv() => {
                if is_cancelled {
                    let failure = Failure::new("not waiting any longer; the change may be made");
                    return Err(failure.advise("`kontiki member list` shows what becomes of it"));
                }
                is_cancelled = true;
                cancel(&mut looking).await;
            }
            () = sleep(LOOK) => show(&mut looking, &mut shown).await,
        }
    }
}

/// Asks the leader to give the change up, and says whether that is still possible.
async fn cancel(looking: &mut Client) {
    let before = looking.leader_status().await.and_then(|status| status.change);
    match before {
        Some(AdminChange { stage, .. }) if stage == "committing" => {
            eprintln!("it is too late to cancel: the new membership is in the log already");
        }
        _ => match looking.cancel_change().await {
            Ok(()) => eprintln!("asked the leader to give the change up"),
            Err(error) => eprintln!("the leader could not be asked to give the change up: {error}"),
        },
    }
}

/// Shows the progress if it differs from what is shown.
async fn show(looking: &mut Client, shown: &mut String) {
    let Some(AdminStatusResponse { id, change: Some(change), .. }) = looking.leader_status().await
    else {
        return;
    };
    let line = progress(id, &change);
    if line != *shown {
        eprintln!("{line}");
        *shown = line;
    }
}

/// One line about how far a change has come.
pub fn progress(leader: u64, change: &AdminChange) -> String {
    let rounds = change.catching_up.iter().map(|one| {
        let (id, round) = (one.id, one.round);
        format!("; member {id} in round {round} of 10: {} of {} entries", one.matched, one.goal)
    });
    format!("member {leader} {}{}", change.doing, rounds.collect::<String>())
}

#[cfg(test)]
mod tests {
    use kontiki_etcd::api::kontiki::v1::AdminCatchingUp;

    use super::*;

    #[test]
    fn the_progress_names_the_learner_and_its_round() {
        let change = AdminChange {
            stage: "catching-up".to_owned(),
            doing: "brings the new voters up to date".to_owned(),
            target: Vec::new(),
            catching_up: vec![AdminCatchingUp { id: 4, round: 2, matched: 70, goal: 90 }],
        };
        let expected = "member 1 brings the new voters up to date; member 4 in round 2 of 10: 70 \
                        of 90 entries";
        assert_eq!(progress(1, &change), expected);
    }
}
