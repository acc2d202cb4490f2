//! Runs the jobs one after another and reports how long each took.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::command::{cargo, command};
use crate::jobs::Job;
use crate::packages;

/// Runs all jobs until one fails; then prints the times.
pub fn all(jobs: &[Job]) -> ExitCode {
    let begin = Instant::now();
    let mut times = Vec::new();
    let mut failure = None;
    for (number, job) in jobs.iter().enumerate() {
        eprintln!("\n=== {}/{} {}: {}", number + 1, jobs.len(), job.name, job.command());
        let start = Instant::now();
        let outcome = one(job);
        times.push((job.name, start.elapsed()));
        eprintln!("=== {}: {}", job.name, seconds(start.elapsed()));
        if let Err(wrong) = outcome {
            failure = Some((job, wrong));
            break;
        }
    }
    report(&times, jobs.len(), begin.elapsed());
    let Some((job, wrong)) = failure else { return ExitCode::SUCCESS };
    eprintln!("FAILED at {}: {}\n  {wrong}", job.name, job.command());
    ExitCode::FAILURE
}

fn one(job: &Job) -> Result<(), String> {
    match job.cargo() {
        Some((words, environment)) => {
            let programs = programs()?;
            let filled: Vec<(&str, String)> = environment
                .iter()
                .map(|(name, value)| (*name, value.replace("{programs}", &programs)))
                .collect();
            let environment: Vec<(&str, &str)> =
                filled.iter().map(|(name, value)| (*name, value.as_str())).collect();
            command(&cargo(), words.split(' '), &environment)
        }
        None => packages::provide().map(|said| eprintln!("{said}")),
    }
}

/// Cargo's folder for programs of the dev profile, which contains this program.
fn programs() -> Result<String, String> {
    let own = std::env::current_exe()
        .map_err(|error| format!("this program's path is unknown: {error}"))?;
    let folder = own.parent().unwrap_or(&own);
    folder.to_str().map(str::to_owned).ok_or_else(|| format!("{} is not text", folder.display()))
}

fn report(times: &[(&str, Duration)], jobs: usize, whole: Duration) {
    eprintln!("\n{:<24} {:>9}", "job", "time");
    for (name, time) in times {
        eprintln!("{name:<24} {:>9}", seconds(*time));
    }
    eprintln!("{:<24} {:>9}", format!("{} of {jobs} jobs", times.len()), seconds(whole));
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
