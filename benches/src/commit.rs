//! The work `commit`: clients propose to a cluster in one process and wait until the command is
//! applied.
//!
//! The floor of a commit is the time until more than half of the members' files are durable, when
//! all are written and synced together. For three members this is the second file: the leader and
//! one follower. In an open loop commands arrive however long the answers take, so that time in a
//! queue is part of the latency.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kontiki::storage::MAX_BATCH_BYTES;

use crate::cluster::{ClusterLane, ClusterPlan};
use crate::etcd::servers::{Kind, Servers};
use crate::floor::{Aligned, Majority, Verb, is_unsupported};
use crate::lane::{Lane, Lanes, POWER_LOSS, Role, Stop, Subject, Tally};
use crate::log::{check_backends, durable_of, resolve};
use crate::measure::{Preparation, Work, check_time, measure};
use crate::meter::Spent;
use crate::{BenchError, Place, Progress, Row, Workload, incompressible};

/// The most members of a cluster in one process.
pub const MAX_MEMBERS: u64 = 9;

/// The connections to servers that run as separate processes.
const CONNECTIONS: usize = 8;

/// Which clusters are measured, and under which workloads.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitPlan {
    /// The names of the backends. Each backend gets its own cluster.
    pub backends: Vec<String>,
    /// The members of a cluster.
    pub members: u64,
    /// The threads of each cluster's runtime.
    pub workers: usize,
    /// The path of the tool, if the members are to be three processes that communicate over TCP and
    /// serve etcd's API to the clients.
    pub processes: Option<PathBuf>,
    /// The workloads, one after another.
    pub workloads: Vec<Workload>,
    /// The time for the whole measurement.
    pub time: Duration,
}

impl CommitPlan {
    /// Refuses a plan that cannot be measured, before anything is written.
    pub fn check(&self) -> Result<(), BenchError> {
        self.workloads.iter().try_for_each(Workload::check)?;
        if self.processes.is_some() && self.members != 3 {
            return Err(BenchError::options(
                "--processes starts three members",
                "leave out --members, or --processes",
            ));
        }
        if !(1..=MAX_MEMBERS).contains(&self.members) {
            return Err(BenchError::options(
                format!("--members {} cannot run in one process", self.members),
                format!("choose from 1 to {MAX_MEMBERS}, best an odd number"),
            ));
        }
        check_time(self.time)?;
        check_backends(&self.backends)
    }
}

/// Measures one workload after another, and returns a row for each cluster and for the floor.
pub fn run(
    plan: &CommitPlan,
    place: &Place,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<Vec<Row>, BenchError> {
    plan.check()?;
    let plan = &CommitPlan { backends: resolve(&plan.backends, place)?, ..plan.clone() };
    let Some(program) = &plan.processes else {
        let work = Work { name: "commit", workloads: &plan.workloads, time: plan.time };
        return measure(work, stop, progress, &mut |workload, ready| {
            lanes(plan, place, workload, ready)
        });
    };
    let began = Instant::now();
    let servers = start_servers(plan, program, place, stop)?;
    let time = plan.time.saturating_sub(began.elapsed()).max(plan.time / 2);
    let work = Work { name: "etcd", workloads: &plan.workloads, time };
    measure(work, stop, progress, &mut |workload, _| server_lanes(plan, &servers, place, workload))
}

fn start_servers(
    plan: &CommitPlan,
    program: &Path,
    place: &Place,
    stop: &Stop,
) -> Result<Vec<Servers>, BenchError> {
    let kind =
        |backend: &String| Kind::Kontiki { program: program.to_owned(), backend: backend.clone() };
    plan.backends.iter().map(|backend| Servers::start(&kind(backend), place, stop)).collect()
}

fn server_lanes(
    plan: &CommitPlan,
    servers: &[Servers],
    place: &Place,
    workload: &Workload,
) -> Result<Lanes<'static>, BenchError> {
    let mut lanes: Lanes = Vec::new();
    if !durable_of(&plan.backends).is_empty() {
        lanes = majority_lanes(plan.members, place, workload)?;
    }
    for servers in servers {
        lanes.push(Box::new(servers.lane(CONNECTIONS, workload)?));
    }
    Ok(lanes)
}

fn lanes<'a>(
    plan: &CommitPlan,
    place: &'a Place,
    workload: &Workload,
    ready: &Preparation,
) -> Result<Lanes<'a>, BenchError> {
    let mut lanes: Lanes = Vec::new();
    if !durable_of(&plan.backends).is_empty() {
        lanes = majority_lanes(plan.members, place, workload)?;
    }
    for backend in &plan.backends {
        ready.stop.check()?;
        let (members, workers) = (plan.members, plan.workers);
        let cluster = ClusterPlan { backend: backend.clone(), members, workers };
        lanes.push(Box::new(ClusterLane::new(&cluster, place, workload)?));
    }
    Ok(lanes)
}

/// The sync verbs for the members' files; the fastest one is the floor. Opening the file with
/// `O_DSYNC` is left out because it does the same as `RWF_DSYNC`.
const MAJORITY_VERBS: [Verb; 4] =
    [Verb::Fdatasync, Verb::RwfDsync, Verb::DirectFdatasync, Verb::DirectRwfDsync];

/// A lane for each way to write the members' files that this file system supports.
pub fn majority_lanes(
    members: u64,
    place: &Place,
    workload: &Workload,
) -> Result<Lanes<'static>, BenchError> {
    let mut lanes: Lanes = Vec::new();
    for verb in MAJORITY_VERBS {
        if let Some(lane) = MajorityLane::create(members, verb, place, workload)? {
            lanes.push(Box::new(lane));
        }
    }
    Ok(lanes)
}

/// The floor of a commit as a lane: the entries of all clients in one write to each member's file.
pub struct MajorityLane {
    files: Majority,
    payload: Arc<Aligned>,
    entries: u64,
    clients: u64,
    _dir: tempfile::TempDir,
}

impl MajorityLane {
    /// The files of this many members for this workload, or `None` if the file system does not
    /// support the verb.
    pub fn create(
        members: u64,
        verb: Verb,
        place: &Place,
        workload: &Workload,
    ) -> Result<Option<MajorityLane>, BenchError> {
        let dir = place.work_dir()?;
        let files = match Majority::create(dir.path(), members, verb) {
            Ok(files) => files,
            Err(error) if is_unsupported(&error) => return Ok(None),
            Err(error) => return Err(BenchError::of_path("writing in", dir.path(), error)),
        };
        let clients = if workload.rate.is_some() { 1 } else { workload.clients };
        let most = MAX_BATCH_BYTES / (workload.size as u64).max(1);
        let entries = (workload.batch * clients).min(most.max(1));
        let payload = Arc::new(Aligned::new(&incompressible(workload.size * entries as usize)));
        Ok(Some(MajorityLane { files, payload, entries, clients, _dir: dir }))
    }
}

impl Lane for MajorityLane {
    fn subject(&self) -> Subject {
        Subject {
            role: Role::Floor,
            name: self.files.name(),
            durability: POWER_LOSS.to_owned(),
            sync_verb: self.files.verb().name().to_owned(),
            members: self.files.members(),
        }
    }

    fn turn(&mut self, time: Duration, stop: &Stop) -> Result<Tally, BenchError> {
        let (mut tally, members) = (Tally::new(), self.files.members());
        let began = Instant::now();
        let before = Spent::now();
        while tally.writes == 0 || began.elapsed() < time && !stop.is_asked() {
            let took = self.files.write_and_sync(&self.payload);
            let took =
                took.map_err(|error| BenchError::failed("writing to the disk alone", error))?;
            tally.samples.record(took, self.clients);
            tally.entries += self.entries;
            tally.written_entries += members * self.entries;
            tally.writes += members;
        }
        tally.busy = began.elapsed();
        tally.spent = Spent::now() - before;
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(backends: &[&str]) -> CommitPlan {
        CommitPlan {
            backends: backends.iter().map(|name| (*name).to_owned()).collect(),
            members: 3,
            workers: 1,
            processes: None,
            workloads: Workload::grid(&[64], &[1], &[4]),
            time: Duration::from_millis(40),
        }
    }

    #[test]
    fn an_impossible_cluster_is_refused_by_name() {
        let error = CommitPlan { members: 10, ..plan(&["memory"]) }.check();
        assert!(error.expect_err("too many").to_string().contains("--members"));
    }

    #[cfg(feature = "file")]
    #[test]
    fn the_floor_has_as_many_files_as_the_cluster_has_members() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path())).expect("made");
        for (members, name) in [(1, "one file"), (5, "third of five files")] {
            let plan = CommitPlan { members, ..plan(&["file"]) };
            let rows = run(&plan, &place, &Stop::new(), &mut Progress::silent()).expect("figures");
            let file = rows.iter().find(|row| row.backend == "file").expect("it was measured");
            let floor = file.floor.as_ref().expect("it has one");
            assert!(floor.starts_with(name) && file.members == members, "{floor}");
            assert!(rows[0].backend.starts_with(name) && rows[0].members == members);
            assert_eq!(rows[0].entries_per_sync, Some(4.0), "each file takes all clients' entries");
        }
    }

    #[cfg(feature = "file")]
    #[test]
    fn a_stopped_floor_writes_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path())).expect("made");
        let workload = Workload { size: 64, batch: 1, clients: 1, rate: None };
        let mut floor = MajorityLane::create(2, Verb::Fdatasync, &place, &workload)
            .expect("made")
            .expect("fdatasync is everywhere");
        let stop = Stop::new();
        stop.ask();
        let tally = floor.turn(Duration::from_secs(3600), &stop).expect("it works");
        assert_eq!((tally.writes, tally.entries), (2, 1));
    }

    #[cfg(all(feature = "file", feature = "memory"))]
    #[test]
    fn a_durable_cluster_is_compared_with_three_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path())).expect("made");
        let rows = run(&plan(&["file", "memory"]), &place, &Stop::new(), &mut Progress::silent())
            .expect("figures");
        drop(place);
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0);
        let (floors, clusters): (Vec<&Row>, Vec<&Row>) =
            rows.iter().partition(|row| row.role == Role::Floor);
        assert!(floors.iter().all(|row| row.backend.starts_with("second of three files, ")));
        assert!(floors.len() >= 2, "fdatasync and RWF_DSYNC are everywhere");
        let names: Vec<&str> = clusters.iter().map(|row| row.backend.as_str()).collect();
        assert_eq!(names, ["file", "memory"]);
        assert!(clusters[0].ratio.is_some() && clusters[1].ratio.is_none());
        assert!(rows.iter().all(|row| row.per_second > 0.0 && row.failures == 0), "{rows:?}");
        assert!(clusters[0].entries_per_sync.is_some_and(|entries| entries > 0.0));
    }
}
