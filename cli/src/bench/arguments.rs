//! The arguments of `kontiki bench`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use benches::commit::{CommitPlan, MAX_MEMBERS};
use benches::etcd::{EtcdPlan, MAX_CONNECTIONS};
use benches::facts::Facts;
use benches::log::LogPlan;
use benches::soak::SoakPlan;
use benches::{
    BenchError, MAX_BATCH, MAX_CLIENTS, Place, Progress, Row, Stop, Workload, commit, etcd, log,
    soak,
};
use clap::{Args, Subcommand};

use super::values::{parse_rate, parse_size, parse_time};

use crate::failure::Failure;

/// Measure.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Measure which log suits this disk: durable appends to each log and to the disk alone.
    Log(Log),
    /// Measure how fast a cluster of three members answers, with each log.
    Commit(Commit),
    /// Measure puts to a server of etcd's v3 API, ours or another.
    Etcd(Etcd),
}

/// The workload.
#[derive(Clone, Debug, Args)]
struct Load {
    /// The payload of an entry, in bytes; k and m stand for KiB and MiB.
    #[arg(long, value_name = "BYTES,...", value_delimiter = ',', default_value = "256",
        value_parser = parse_size)]
    size: Vec<usize>,
    /// The entries that a client submits together.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1",
        value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH))]
    batch: Vec<u64>,
    /// Let this many batches arrive per second, however long the answers take, instead of clients
    /// that wait for theirs: the latency then includes the time in a queue.
    #[arg(long, value_name = "N", conflicts_with = "clients", value_parser = parse_rate)]
    rate: Option<f64>,
}

/// Where the results go, besides the table.
#[derive(Clone, Debug, Args)]
pub struct Output {
    /// Also write all figures as JSON; `-` prints them instead of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also write a page with plots, which needs no other file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Log {
    /// The logs, by name, or `all` of this build; `file:thread` and `file:ring` select how the
    /// file log is written [with --soak: file].
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        default_value = "all",
        default_value_if("soak", "true", "file")
    )]
    backend: Vec<String>,
    /// The number of clients, whose batches are written together [with --soak: 1].
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,16,256",
        default_value_if("soak", "true", "1"),
        value_parser = clap::value_parser!(u64).range(1..=MAX_CLIENTS))]
    clients: Vec<u64>,
    #[command(flatten)]
    load: Load,
    /// The time for the whole measurement [with --soak: 600].
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "40",
        default_value_if("soak", "true", "600"), value_parser = parse_time)]
    seconds: Duration,
    /// Run one log alone for minutes, and show its figures over time.
    #[arg(long)]
    soak: bool,
    /// The length of an interval of a soak [default: a sixtieth of the time].
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, requires = "soak",
        value_parser = parse_time)]
    interval: Option<Duration>,
    /// A directory on the disk to measure [default: the current one].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Instead of logs, compare the ways to make one write durable: pwrite and fdatasync,
    /// `O_DSYNC`, `RWF_DSYNC`, each also with `O_DIRECT`.
    #[arg(long, conflicts_with_all = ["backend", "soak"])]
    verbs: bool,
    /// Measure new logs. By default each log is filled first, so that a log in use is measured.
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Commit {
    /// The members' logs, by name, or `all` of this build; `file:thread` and `file:ring` select how
    /// the file log is written.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_value = "all")]
    backend: Vec<String>,
    /// The number of members of a cluster.
    #[arg(long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u64).range(1..=MAX_MEMBERS))]
    members: u64,
    /// The number of clients, each of which waits for its answer.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,64,1024",
        value_parser = clap::value_parser!(u64).range(1..=MAX_CLIENTS))]
    clients: Vec<u64>,
    #[command(flatten)]
    load: Load,
    /// The time for the whole measurement.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "25",
        value_parser = parse_time)]
    seconds: Duration,
    /// A directory on the disk to measure [default: the current one].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The threads of a cluster's runtime; 1 means a single-threaded runtime.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Run the members as three processes connected over TCP, with clients of etcd's API.
    #[arg(long)]
    processes: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Etcd {
    /// The addresses at which the server accepts clients.
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// The number of connections. They are spread over the endpoints, and the clients over them.
    #[arg(long, value_name = "N", default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_CONNECTIONS)))]
    connections: u16,
    /// The number of clients, each of which waits for its answer.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,64,1000",
        value_parser = clap::value_parser!(u64).range(1..=MAX_CLIENTS))]
    clients: Vec<u64>,
    #[command(flatten)]
    load: Load,
    /// The time for the whole measurement.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "15",
        value_parser = parse_time)]
    seconds: Duration,
    #[command(flatten)]
    output: Output,
}

/// A measurement whose arguments were checked.
#[derive(Debug)]
pub struct Task {
    plan: Plan,
    dir: Option<PathBuf>,
}

#[derive(Debug)]
enum Plan {
    Log(LogPlan),
    Soak(SoakPlan),
    Commit(CommitPlan),
    Etcd(EtcdPlan),
}

impl Bench {
    /// Where the results go.
    pub fn output(&self) -> &Output {
        match &self.what {
            What::Log(log) => &log.output,
            What::Commit(commit) => &commit.output,
            What::Etcd(etcd) => &etcd.output,
        }
    }

    /// The measurement of these arguments. Refuses an impossible one before anything is written.
    pub fn into_task(self) -> Result<Task, Failure> {
        let (plan, dir) = match self.what {
            What::Log(log) => log.into_plan()?,
            What::Commit(commit) => commit.into_plan()?,
            What::Etcd(etcd) => etcd.into_plan()?,
        };
        let checked = match &plan {
            Plan::Log(plan) => plan.check(),
            Plan::Soak(plan) => plan.check(),
            Plan::Commit(plan) => plan.check(),
            Plan::Etcd(plan) => plan.check(),
        };
        let failed = |error: BenchError| Failure::new(error.to_string()).advise(error.advice());
        checked.map_err(failed)?;
        Ok(Task { plan, dir })
    }
}

impl Log {
    fn into_plan(self) -> Result<(Plan, Option<PathBuf>), Failure> {
        let workloads = self.load.workloads(&self.clients);
        let fill = if self.fresh { 0 } else { log::FILL_BYTES };
        let (backends, time) = (self.backend, self.seconds);
        let plan = if self.soak {
            let (backend, workload) = only_one(backends, workloads)?;
            Plan::Soak(SoakPlan { backend, workload, time, interval: self.interval, fill })
        } else {
            Plan::Log(LogPlan { backends, workloads, time, fill, verbs: self.verbs })
        };
        Ok((plan, self.dir))
    }
}

/// The log and the workload of a soak, which has one of each.
fn only_one(
    mut backends: Vec<String>,
    mut workloads: Vec<Workload>,
) -> Result<(String, Workload), Failure> {
    let (logs, works) = (backends.len(), workloads.len());
    match (backends.pop(), workloads.pop()) {
        (Some(backend), Some(workload)) if logs == 1 && works == 1 && backend != "all" => {
            Ok((backend, workload))
        }
        _ => {
            let advice = "name one --backend, one --size, one --batch and one number of --clients";
            Err(Failure::new("--soak runs one log under one workload").advise(advice))
        }
    }
}

impl Commit {
    fn into_plan(self) -> Result<(Plan, Option<PathBuf>), Failure> {
        let program = || {
            let own = std::env::current_exe();
            own.map_err(|error| Failure::of("this program cannot find itself", &error))
        };
        let plan = CommitPlan {
            backends: self.backend,
            members: self.members,
            workers: self.workers.into(),
            processes: self.processes.then(program).transpose()?,
            workloads: self.load.workloads(&self.clients),
            time: self.seconds,
        };
        Ok((Plan::Commit(plan), self.dir))
    }
}

impl Etcd {
    fn into_plan(self) -> Result<(Plan, Option<PathBuf>), Failure> {
        let plan = EtcdPlan {
            endpoints: self.endpoints,
            connections: self.connections.into(),
            workloads: self.load.workloads(&self.clients),
            time: self.seconds,
        };
        // Nothing is written to this disk; the facts describe this machine.
        Ok((Plan::Etcd(plan), None))
    }
}

impl Load {
    fn workloads(&self, clients: &[u64]) -> Vec<Workload> {
        // In an open loop there is no number of clients.
        let clients = if self.rate.is_some() { &[1] } else { clients };
        let grid = Workload::grid(&self.size, &self.batch, clients).into_iter();
        grid.map(|one| Workload { rate: self.rate, ..one }).collect()
    }
}

impl Task {
    /// A directory on the disk to measure.
    pub fn place(&self) -> Result<Place, BenchError> {
        match self.plan {
            // A server writes to its own directory.
            Plan::Etcd(_) => Place::new(Some(&std::env::temp_dir())),
            _ => Place::new(self.dir.as_deref()),
        }
    }

    /// What the figures depend on besides the program.
    pub fn facts(&self, place: &Place) -> Result<Facts, BenchError> {
        let mut facts = place.facts();
        let backends = match &self.plan {
            Plan::Log(plan) => &plan.backends[..],
            Plan::Soak(plan) => std::slice::from_ref(&plan.backend),
            Plan::Commit(plan) => &plan.backends,
            Plan::Etcd(_) => &[],
        };
        if backends.iter().any(|name| name == "all" || name.starts_with("file")) {
            facts.file_log_io = place.file_log()?.map(|file_log| file_log.auto.to_owned());
        }
        Ok(facts)
    }

    /// Runs the measurement.
    pub fn run(&self, place: &Place, stop: &Stop) -> Result<Vec<Row>, BenchError> {
        match &self.plan {
            Plan::Log(plan) => {
                let mut progress = Progress::on_terminal(plan.workloads.len());
                log::run(plan, place, stop, &mut progress)
            }
            Plan::Soak(plan) => soak::run(plan, place, stop, &mut Progress::on_terminal(1)),
            Plan::Commit(plan) => {
                let mut progress = Progress::on_terminal(plan.workloads.len());
                commit::run(plan, place, stop, &mut progress)
            }
            Plan::Etcd(plan) => {
                let mut progress = Progress::on_terminal(plan.workloads.len());
                etcd::run(plan, stop, &mut progress)
            }
        }
    }
}

impl Output {
    /// Refuses an output file that cannot be written, before the measurement takes its time.
    pub fn check(&self) -> Result<(), Failure> {
        for path in self.json.iter().chain(&self.html) {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            if path.is_dir() || !parent.is_dir() {
                let text = format!("{} cannot be written", path.display());
                return Err(Failure::new(text).advise("name a file in a directory that exists"));
            }
        }
        match self.html.as_deref() == Some(Path::new("-")) {
            true => Err(Failure::new("--html needs a file").advise("as in --html report.html")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::command_line::{Arguments, Command};

    fn task(line: &str) -> Result<Task, Failure> {
        let words = "kontiki bench ".to_owned() + line;
        let parsed = Arguments::try_parse_from(words.split_whitespace());
        let parsed = parsed.map_err(|error| Failure::new(error.to_string()))?;
        let Command::Bench(bench) = parsed.command else { panic!("it is bench") };
        bench.output().check()?;
        bench.into_task()
    }

    #[test]
    fn by_default_all_logs_of_the_build_are_measured() {
        let Ok(Task { plan: Plan::Log(plan), .. }) = task("log") else { panic!("it is a plan") };
        assert_eq!(plan.backends, ["all"]);
        assert_eq!(plan.workloads.len(), 3);
        assert!(plan.time <= Duration::from_secs(45), "the measurement ends in less than a minute");
    }

    #[test]
    fn what_cannot_be_measured_is_refused_with_advice() {
        for (line, says) in [
            ("log --backend rockdb", "'rockdb'"),
            ("log --seconds 0", "--seconds"),
            ("log --seconds -1", "--seconds"),
            ("log --seconds nan", "--seconds"),
            ("log --clients 0", "--clients"),
            ("log --batch 0", "--batch"),
            ("log --size 1g", "64k"),
            ("log --size 100m", "--size"),
            ("log --verbs --backend file", "--backend"),
            ("log --rate 5 --clients 3", "--rate"),
            ("log --json no/such/dir/file", "no/such/dir"),
            ("commit --members 10", "--members"),
            ("commit --members 5 --processes", "--processes"),
            ("commit --rate 0", "--rate"),
            ("log --rate 0.01", "--rate"),
            ("commit --rate 1e10", "--rate"),
            ("log --size 8m --batch 65536", "--batch"),
            ("commit --seconds 1e9", "--seconds"),
            ("etcd --endpoints a:1 --seconds 0", "--seconds"),
            ("etcd", "--endpoints"),
            ("log --soak --backend memory,file", "--soak"),
            ("log --soak --backend all", "--soak"),
            ("log --soak --clients 1,2", "--soak"),
            ("log --soak --size 64,256", "--soak"),
            ("log --soak --verbs", "--verbs"),
            ("log --interval 1", "--soak"),
            ("log --soak --backend memory --interval 0.001", "--interval"),
            ("log --soak --backend memory --seconds 86400 --interval 1", "--interval"),
            ("etcd --endpoints a:1 --connections 0", "--connections"),
        ] {
            let failure = task(line).expect_err(line).to_string();
            assert!(failure.contains(says), "{line}: {failure}");
        }
    }

    #[test]
    fn a_soak_by_default_runs_one_log_with_one_client_for_ten_minutes() {
        let Ok(Task { plan: Plan::Soak(plan), .. }) = task("log --soak") else {
            panic!("it is a plan")
        };
        assert_eq!((&*plan.backend, plan.workload.clients), ("file", 1));
        assert_eq!((plan.time, plan.interval), (Duration::from_secs(600), None));
        let line = "log --soak --backend memory --seconds 20 --interval 0.5 --rate 9";
        let Ok(Task { plan: Plan::Soak(plan), .. }) = task(line) else { panic!("it is a plan") };
        assert_eq!((&*plan.backend, plan.workload.rate), ("memory", Some(9.0)));
        assert_eq!(plan.time / 40, plan.interval.expect("it was given"));
    }

    #[test]
    fn an_open_loop_has_no_number_of_clients() {
        let Ok(Task { plan: Plan::Commit(plan), .. }) = task("commit --rate 500") else {
            panic!("it is a plan")
        };
        assert_eq!((plan.workloads.len(), plan.workloads[0].rate), (1, Some(500.0)));
    }
}
