//! The plan of `kontiki bench log`: what it measures, and how.

use std::path::Path;
use std::time::Duration;

use kontiki::LogConfig;

use super::{LogLane, RawWriter, StoreWriter, Writer, library};
use crate::floor::{Layout, Verb};
use crate::lane::{Lane, Lanes, Stop};
use crate::measure::{Preparation, Work, check_time, measure};
use crate::named_log::log_by_name;
use crate::place::{FileLog, Place};
use crate::progress::Progress;
use crate::{BenchError, Row, Workload};

/// Which logs are measured, and under which workloads.
#[derive(Clone, Debug, PartialEq)]
pub struct LogPlan {
    /// The names of the backends.
    pub backends: Vec<String>,
    /// The workloads, one after another.
    pub workloads: Vec<Workload>,
    /// The time for the whole measurement.
    pub time: Duration,
    /// The payload that is written to each log before it is measured, in bytes.
    pub fill: u64,
    /// Whether to measure the ways to make one write durable instead of logs.
    pub verbs: bool,
}

impl LogPlan {
    /// Refuses a plan that cannot be measured, before anything is written.
    pub fn check(&self) -> Result<(), BenchError> {
        self.workloads.iter().try_for_each(Workload::check)?;
        check_time(self.time)?;
        check_backends(&self.backends)
    }
}

/// The name that means all logs of this build.
const ALL: &str = "all";

/// Refuses backends that this build does not have, or that are named twice.
pub fn check_backends(backends: &[String]) -> Result<(), BenchError> {
    if backends.iter().any(|name| name == ALL) {
        return Ok(());
    }
    for (place, name) in backends.iter().enumerate() {
        if let Err(error) = log_by_name(name, "unused") {
            let all = LogConfig::compiled().join(", ");
            let advice = format!("or measure all of this build: --backend all ({all})");
            return Err(BenchError::options(error.to_string(), advice));
        }
        if backends[..place].contains(name) {
            let text = format!("the backend '{name}' is named twice");
            return Err(BenchError::options(text, "name each backend once"));
        }
    }
    match backends.is_empty() {
        true => {
            let all = LogConfig::compiled().join(", ");
            Err(BenchError::options("no backend is named", format!("this build has {all}")))
        }
        false => Ok(()),
    }
}

/// The backends of a list that survive a power cut; only they have a floor.
pub fn durable_of(backends: &[String]) -> Vec<String> {
    let durable = |name: &&String| log_by_name(name, "unused").is_ok_and(|log| log.is_durable());
    backends.iter().filter(durable).cloned().collect()
}

/// The logs that these names mean on this disk: `all` is replaced by [`all_logs`].
pub fn resolve(backends: &[String], place: &Place) -> Result<Vec<String>, BenchError> {
    if backends.iter().any(|name| name == ALL) {
        Ok(all_logs(place.file_log()?))
    } else {
        Ok(backends.to_vec())
    }
}

/// The logs of this build. The file log is listed once for each way to write it; `file` is left
/// out, because it is the same as one of them.
pub fn all_logs(file_log: Option<FileLog>) -> Vec<String> {
    let file_logs = match file_log {
        Some(FileLog { has_ring: true, .. }) => vec!["file:ring", "file:thread"],
        _ => vec!["file:thread"],
    };
    let logs = LogConfig::compiled().into_iter();
    let logs = logs.flat_map(|name| if name == "file" { file_logs.clone() } else { vec![name] });
    logs.map(str::to_owned).collect()
}

/// Measures one workload after another, and returns a row for each log, each floor and each
/// library.
pub fn run(
    plan: &LogPlan,
    place: &Place,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<Vec<Row>, BenchError> {
    plan.check()?;
    let plan = &LogPlan { backends: resolve(&plan.backends, place)?, ..plan.clone() };
    let name = if plan.verbs { "verbs" } else { "log" };
    let work = Work { name, workloads: &plan.workloads, time: plan.time };
    let mut work_dirs = None;
    measure(work, stop, progress, &mut |workload, ready| {
        // The files of the previous workload are removed here; nothing writes to them any more.
        let work_dir = work_dirs.insert(place.work_dir()?);
        match plan.verbs {
            true => verb_lanes(work_dir.path(), workload, ready),
            false => log_lanes(plan, work_dir.path(), workload, ready),
        }
    })
}

/// The lanes of a workload: every way to write to this disk, if a log is durable (the fastest one
/// is the floor), then the logs, then the libraries under them.
pub fn log_lanes(
    plan: &LogPlan,
    dir: &Path,
    workload: &Workload,
    ready: &Preparation,
) -> Result<Lanes<'static>, BenchError> {
    let mut lanes: Lanes = Vec::new();
    if !durable_of(&plan.backends).is_empty() {
        lanes = verb_lanes(dir, workload, ready)?;
    }
    for (place, backend) in plan.backends.iter().enumerate() {
        let writer = StoreWriter::create(backend, dir, workload.size)?;
        let mut lane = LogLane::new(writer, workload)?;
        let filled =
            lane.fill(plan.fill, ready.until_next(plan.backends.len() - place), ready.stop)?;
        if filled < plan.fill {
            ready.note(&format!(
                "note: the {backend} log was filled with {} of {} MiB before it was measured; more \
                 --seconds fill it completely",
                filled >> 20,
                plan.fill >> 20,
            ));
        }
        lanes.push(Box::new(lane));
    }
    for library in library::libraries_of(&plan.backends, dir, workload.size)? {
        lanes.push(lane(library, workload)?);
    }
    Ok(lanes)
}

/// Every way to make a write durable that this file system supports.
fn verb_lanes(
    dir: &Path,
    workload: &Workload,
    ready: &Preparation,
) -> Result<Lanes<'static>, BenchError> {
    let mut lanes = Vec::new();
    for verb in Verb::ALL {
        ready.stop.check()?;
        let raw = RawWriter::create(dir, Layout::Prewritten, verb, workload.size)?;
        lanes.extend(raw.map(|raw| lane(raw, workload)).transpose()?);
    }
    for layout in [Layout::Fallocated, Layout::Appended] {
        let raw = RawWriter::create(dir, layout, Verb::Fdatasync, workload.size)?;
        lanes.extend(raw.map(|raw| lane(raw, workload)).transpose()?);
    }
    Ok(lanes)
}

fn lane(writer: impl Writer + 'static, workload: &Workload) -> Result<Box<dyn Lane>, BenchError> {
    Ok(Box::new(LogLane::new(writer, workload)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::Role;

    fn plan(backends: &[&str]) -> LogPlan {
        LogPlan {
            backends: backends.iter().map(|name| (*name).to_owned()).collect(),
            workloads: Workload::grid(&[64], &[1], &[1, 4]),
            time: Duration::from_millis(40),
            fill: 2 << 20,
            verbs: false,
        }
    }

    fn run_it(plan: &LogPlan) -> Result<Vec<Row>, BenchError> {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path()))?;
        let rows = run(plan, &place, &Stop::new(), &mut Progress::silent());
        drop(place);
        let left = std::fs::read_dir(dir.path()).expect("it is there").count();
        assert_eq!(left, 0, "a measurement leaves no files");
        rows
    }

    #[cfg(feature = "file")]
    #[test]
    fn all_logs_of_the_build_are_listed_once() {
        for (has_ring, ways) in
            [(true, &["file:ring", "file:thread"][..]), (false, &["file:thread"])]
        {
            let names = all_logs(Some(FileLog { auto: "thread", has_ring }));
            check_backends(&names).expect("each is known, and named once");
            let file_logs = names.iter().filter(|name| name.starts_with("file"));
            assert!(file_logs.eq(ways.iter()), "{names:?}");
            assert_eq!(names.len(), LogConfig::compiled().len() - 1 + ways.len());
        }
    }

    #[cfg(feature = "file")]
    #[test]
    fn all_is_resolved_for_the_disk_that_is_measured() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path())).expect("made");
        let names = resolve(&["all".to_owned()], &place).expect("resolved");
        assert_eq!(names, all_logs(place.file_log().expect("it opens")));
        assert_eq!(resolve(&["memory".to_owned()], &place).ok(), Some(vec!["memory".to_owned()]));
    }

    #[test]
    fn an_unknown_backend_is_refused_by_name() {
        for (backends, says) in
            [(&["rockdb"][..], "'rockdb'"), (&[], "no backend"), (&["memory", "memory"], "twice")]
        {
            let error = plan(backends).check().expect_err(says);
            assert!(error.to_string().contains(says), "{error}");
            assert!(!error.advice().is_empty());
        }
        let error = LogPlan { time: Duration::ZERO, ..plan(&["memory"]) }.check();
        assert!(error.expect_err("no time").to_string().contains("--seconds"));
    }

    #[cfg(all(feature = "file", feature = "memory"))]
    #[test]
    fn a_log_that_syncs_is_compared_with_its_disk_and_another_is_not() {
        let rows = run_it(&plan(&["file", "memory"])).expect("figures");
        let of = |name: &str| rows.iter().filter(|row| row.backend == name).collect::<Vec<_>>();
        let (file, memory) = (of("file"), of("memory"));
        assert_eq!((file.len(), memory.len()), (2, 2), "one for each workload");
        for row in file {
            assert!(row.ratio.is_some() && row.floor_p50_us.is_some_and(|floor| floor > 0.0));
            assert!(row.per_second > 0.0 && row.p50_us <= row.p99_us);
            assert_eq!(row.entries_per_sync, Some(row.clients as f64));
        }
        assert!(memory.iter().all(|row| row.ratio.is_none() && row.floor.is_none()));
        assert_eq!(of("pre-written + fdatasync").len(), 2);
    }

    #[cfg(feature = "file")]
    #[test]
    fn every_way_to_write_is_a_floor_of_a_log_too() {
        let rows = run_it(&LogPlan { verbs: true, ..plan(&[any()]) }).expect("figures");
        let verbs: Vec<&String> = rows.iter().map(|row| &row.backend).collect();
        let logs = run_it(&plan(&["file"])).expect("figures");
        for name in verbs {
            assert!(logs.iter().any(|row| row.backend == *name), "{name}");
        }
        let floors = || logs.iter().filter(|row| row.role == Role::Floor && row.clients == 1);
        let least = floors().map(|row| row.p50_us).fold(f64::MAX, f64::min);
        let file = logs.iter().find(|row| row.backend == "file").expect("it was measured");
        assert_eq!(file.floor_p50_us, Some(least));
    }

    #[test]
    fn the_verbs_of_this_filesystem_are_measured() {
        let rows = run_it(&LogPlan { verbs: true, ..plan(&[any()]) }).expect("figures");
        assert!(rows.len() >= 4, "fdatasync and O_DSYNC are everywhere");
        assert!(rows.iter().all(|row| row.work == "verbs" && row.role == Role::Floor));
    }

    fn any() -> &'static str {
        LogConfig::compiled()[0]
    }
}
