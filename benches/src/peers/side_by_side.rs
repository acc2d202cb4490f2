//! All comparisons in one run: what the program `peers` does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Layout, OpenraftLane, RaftEngineWriter};
use crate::cluster::{ClusterLane, ClusterPlan};
use crate::commit::majority_lanes;
use crate::etcd::servers::{Kind, Servers};
use crate::floor::{Verb, fastest_verb};
use crate::lane::{Lanes, Role, Stop};
use crate::log::{FILL_BYTES, LogLane, LogPlan, all_logs, durable_of, log_lanes};
use crate::measure::{Preparation, Work, measure};
use crate::show::workloads;
use crate::{BenchError, Place, Progress, Row, Workload};

/// The numbers of threads of openraft's runtime that are tried.
const OPENRAFT_WORKERS: [usize; 3] = [1, 2, 3];

/// The numbers of threads of our runtime that are shown.
const OWN_WORKERS: [usize; 2] = [1, 2];

/// The number of members of every cluster.
const MEMBERS: u64 = 3;

/// The connections to servers.
const CONNECTIONS: usize = 8;

/// The comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Three members in one process, logs in memory, empty payload; compared with openraft.
    Memory,
    /// The same with durable logs and 256 bytes.
    Durable,
    /// The logs alone; compared with raft-engine and the plain libraries.
    Log,
    /// Three processes that serve etcd's API; compared with a real etcd.
    Etcd,
}

/// What is compared, and for how long.
#[derive(Clone, Debug)]
pub struct SideBySide {
    /// The comparisons, one after another.
    pub parts: Vec<Parts>,
    /// The time for each comparison.
    pub time: Duration,
    /// The path of the tool, if it was built.
    pub kontiki: Option<PathBuf>,
    /// The path of a real etcd, if it is installed.
    pub etcd: Option<PathBuf>,
}

/// Measures all comparisons and returns their rows. Lists on the standard error what is left out.
pub fn run(plan: &SideBySide, place: &Place, stop: &Stop) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    for part in &plan.parts {
        let workloads = part.workloads();
        let work = Work { name: part.work(), workloads: &workloads, time: plan.time };
        let mut progress = Progress::on_terminal(workloads.len());
        let measured = match part {
            Parts::Memory => {
                measure(work, stop, &mut progress, &mut |w, ready| memory(place, w, ready))
            }
            Parts::Durable => {
                measure(work, stop, &mut progress, &mut |w, ready| durable(place, w, ready))
            }
            Parts::Log => logs(work, place, stop, &mut progress),
            Parts::Etcd => servers(plan, work, place, stop, &mut progress),
        };
        match measured {
            Ok(more) => rows.extend(more),
            Err(BenchError::Stopped) if !rows.is_empty() => break,
            Err(error) => return Err(error),
        }
        if stop.is_asked() {
            break;
        }
    }
    Ok(rows)
}

impl Parts {
    /// All of them.
    pub const ALL: [Parts; 4] = [Parts::Memory, Parts::Durable, Parts::Log, Parts::Etcd];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Parts::Memory => "memory",
            Parts::Durable => "durable",
            Parts::Log => "log",
            Parts::Etcd => "etcd",
        }
    }

    /// The comparison of this name.
    pub fn from_name(name: &str) -> Option<Parts> {
        Parts::ALL.into_iter().find(|part| part.name() == name)
    }

    fn work(self) -> &'static str {
        match self {
            Parts::Memory | Parts::Durable => "commit",
            Parts::Log => "log",
            Parts::Etcd => "etcd",
        }
    }

    fn workloads(self) -> Vec<Workload> {
        match self {
            Parts::Memory => Workload::grid(&[0], &[1], &[1, 64, 256, 1024, 4096]),
            Parts::Durable => Workload::grid(&[256], &[1], &[1, 64, 1024]),
            Parts::Log => Workload::grid(&[256], &[1, 64], &[1]),
            Parts::Etcd => Workload::grid(&[256], &[1], &[1, 64, 1000]),
        }
    }
}

fn memory<'a>(
    place: &'a Place,
    workload: &Workload,
    ready: &Preparation,
) -> Result<Lanes<'a>, BenchError> {
    let mut lanes: Lanes = Vec::new();
    for workers in OWN_WORKERS {
        ready.stop.check()?;
        let plan = own_plan("memory", workers);
        lanes.push(Box::new(ClusterLane::new(&plan, place, workload)?));
    }
    openrafts(None, place, workload, ready, &mut lanes)?;
    Ok(lanes)
}

fn durable<'a>(
    place: &'a Place,
    workload: &Workload,
    ready: &Preparation,
) -> Result<Lanes<'a>, BenchError> {
    let mut lanes: Lanes = majority_lanes(MEMBERS, place, workload)?;
    // The logs are as in a cluster of a user: nothing purges, so all segments are new.
    for backend in ["file:thread", "file:ring"] {
        ready.stop.check()?;
        let plan = own_plan(backend, 1);
        lanes.push(Box::new(ClusterLane::new(&plan, place, workload)?));
    }
    let disk = fastest_verb(place.path());
    let disk = disk.map_err(|error| BenchError::of_path("writing in", place.path(), error))?;
    openrafts(Some(disk), place, workload, ready, &mut lanes)?;
    Ok(lanes)
}

fn own_plan(backend: &str, workers: usize) -> ClusterPlan {
    ClusterPlan { backend: backend.to_owned(), members: MEMBERS, workers }
}

fn openrafts<'a>(
    disk: Option<Verb>,
    place: &'a Place,
    workload: &Workload,
    ready: &Preparation,
    lanes: &mut Lanes<'a>,
) -> Result<(), BenchError> {
    for workers in OPENRAFT_WORKERS {
        ready.stop.check()?;
        let layout = Layout { workers, disk };
        lanes.push(Box::new(OpenraftLane::new(layout, place, workload)?));
    }
    Ok(())
}

fn logs(
    work: Work,
    place: &Place,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<Vec<Row>, BenchError> {
    let plan = LogPlan {
        backends: durable_of(&all_logs(place.file_log()?)),
        workloads: work.workloads.to_vec(),
        time: work.time,
        fill: FILL_BYTES,
        verbs: false,
    };
    let mut work_dirs = None;
    measure(work, stop, progress, &mut |workload, ready| {
        let work_dir = work_dirs.insert(place.work_dir()?);
        let mut lanes = log_lanes(&plan, work_dir.path(), workload, ready)?;
        engines(work_dir.path(), workload, &mut lanes)?;
        Ok(lanes)
    })
}

fn engines(dir: &Path, workload: &Workload, lanes: &mut Lanes) -> Result<(), BenchError> {
    for prefilled in [false, true] {
        let writer = RaftEngineWriter::create(dir, workload.size, prefilled)?;
        lanes.push(Box::new(LogLane::new(writer, workload)?));
    }
    Ok(())
}

fn servers(
    plan: &SideBySide,
    work: Work,
    place: &Place,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<Vec<Row>, BenchError> {
    let mut kinds = Vec::new();
    match &plan.kontiki {
        Some(program) => {
            for backend in ["file:thread", "file:ring"] {
                let (program, backend) = (program.clone(), backend.to_owned());
                kinds.push(Kind::Kontiki { program, backend });
            }
        }
        None => eprintln!(
            "left out: our own processes (cargo build --release --package kontiki-cli, or \
             --kontiki FILE)"
        ),
    }
    match &plan.etcd {
        Some(program) => kinds.push(Kind::Etcd { program: program.clone() }),
        None => eprintln!("left out: etcd is not installed (apt-get install etcd-server)"),
    }
    if kinds.is_empty() {
        return Ok(Vec::new());
    }
    let all: Vec<Servers> =
        kinds.iter().map(|kind| Servers::start(kind, place, stop)).collect::<Result<_, _>>()?;
    measure(work, stop, progress, &mut |workload, _| {
        let mut lanes: Lanes = majority_lanes(MEMBERS, place, workload)?;
        for servers in &all {
            lanes.push(Box::new(servers.lane(CONNECTIONS, workload)?));
        }
        Ok(lanes)
    })
}

/// For each workload, our best row compared with their best: the ratio of entries per second, and
/// the ratio of latencies.
pub fn summary(rows: &[Row]) -> String {
    let mut text = String::new();
    for (work, workload) in workloads(rows) {
        for durable in [true, false] {
            let best = |ours: bool| {
                let of_these = rows.iter().filter(|row| {
                    row.work == work && row.workload() == workload && row.is_durable() == durable
                });
                let side = of_these.filter(|row| is_ours(row) == ours && row.role != Role::Floor);
                side.max_by(|one, other| one.per_second.total_cmp(&other.per_second))
            };
            let (Some(ours), Some(theirs)) = (best(true), best(false)) else { continue };
            text += &format!(
                "{work}, {}: {} has {:.2} x the entries/s of {}, p50 {:.2} x\n",
                workload.describe(),
                ours.backend,
                ours.per_second / theirs.per_second,
                theirs.backend,
                ours.p50_us / theirs.p50_us,
            );
        }
    }
    text
}

fn is_ours(row: &Row) -> bool {
    row.role == Role::Store || (row.role == Role::Server && row.backend.starts_with("kontiki"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_name_and_work_to_do() {
        for part in Parts::ALL {
            assert_eq!(Parts::from_name(part.name()), Some(part));
            assert!(part.workloads().iter().all(|workload| workload.check().is_ok()));
        }
        assert_eq!(Parts::from_name("nothing"), None);
    }

    #[test]
    fn all_are_compared_in_one_run() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path())).expect("made");
        let workloads = Workload::grid(&[64], &[1], &[2]);
        let work = Work { name: "commit", workloads: &workloads, time: Duration::from_millis(20) };
        let stop = Stop::new();
        let rows =
            measure(work, &stop, &mut Progress::silent(), &mut |w, ready| memory(&place, w, ready));
        let text = summary(&rows.expect("figures"));
        assert!(text.contains("memory") && text.contains("openraft"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
