//! Runs the jobs one after another and tells how long each took.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

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

/// Runs a program and waits for it. An error names the whole command.
pub fn command<'a>(
    program: &str,
    arguments: impl IntoIterator<Item = &'a str>,
    environment: &[(&str, &str)],
) -> Result<(), String> {
    let arguments: Vec<&str> = arguments.into_iter().collect();
    let line = format!("{program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(&arguments)
        .envs(environment.iter().copied())
        .status()
        .map_err(|error| format!("could not start {line}: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{line}: {status}")),
    }
}

fn one(job: &Job) -> Result<(), String> {
    match job.cargo() {
        Some((words, environment)) => command(&cargo(), words.split(' '), environment),
        None => packages::provide().map(|said| eprintln!("{said}")),
    }
}

/// The cargo that runs this, so that both build with one toolchain.
pub fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_named() {
        assert_eq!(command("true", [], &[]), Ok(()));
        let failed = command("sh", ["-c", "exit 3"], &[]).expect_err("it fails");
        assert!(failed.contains("sh -c exit 3") && failed.contains('3'), "{failed}");
        let absent = command("a program that nobody wrote", [], &[]).expect_err("it is not there");
        assert!(absent.starts_with("could not start"), "{absent}");
    }
}
