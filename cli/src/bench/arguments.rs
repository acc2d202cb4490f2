//! What can be typed after `kontiki bench`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use benches::commit::{CommitPlan, MAX_MEMBERS};
use benches::etcd::{EtcdPlan, MAX_CONNECTIONS};
use benches::log::{LogPlan, all_logs};
use benches::{
    BenchError, MAX_BATCH, MAX_CLIENTS, MAX_SIZE, Place, Progress, RATES, Row, Stop, Workload,
    check_time, commit, etcd, log,
};
use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Measure.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Which log on this disk? Appends to each, durable before the next, beside the disk itself.
    Log(Log),
    /// What does a cluster of three members answer, on each log?
    Commit(Commit),
    /// Puts to a server of etcd's v3 API, ours or another.
    Etcd(Etcd),
}

/// What is done, and for how long.
#[derive(Clone, Debug, Args)]
struct Load {
    /// The payload of an entry, in bytes; k and m stand for KiB and MiB.
    #[arg(long, value_name = "BYTES,...", value_delimiter = ',', default_value = "256",
        value_parser = parse_size)]
    size: Vec<usize>,
    /// The entries that a client hands in together.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1",
        value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH))]
    batch: Vec<u64>,
    /// Let so many batches arrive in a second, however long the answers take, instead of clients
    /// that wait for theirs: a queue then shows in the latency.
    #[arg(long, value_name = "N", conflicts_with = "clients", value_parser = parse_rate)]
    rate: Option<f64>,
}

/// Where the results go, beside the table.
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
    /// The logs, by name, or `all` of this build; `file:thread` and `file:ring` say how the
    /// file log is written.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_value = "all")]
    backend: Vec<String>,
    /// The clients, whose batches are written together.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,16,256",
        value_parser = clap::value_parser!(u64).range(1..=MAX_CLIENTS))]
    clients: Vec<u64>,
    #[command(flatten)]
    load: Load,
    /// The time for everything together.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "40",
        value_parser = parse_time)]
    seconds: Duration,
    /// A directory on the disk to measure [default: the current one].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Instead of logs, compare the ways to make one write durable: pwrite and fdatasync,
    /// `O_DSYNC`, `RWF_DSYNC`, each also with `O_DIRECT`.
    #[arg(long, conflicts_with = "backend")]
    verbs: bool,
    /// Measure new logs. Without it each is filled before, as one that has been in use.
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Commit {
    /// The members' logs, by name, or `all` of this build; `file:thread` and `file:ring` say how
    /// the file log is written.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_value = "all")]
    backend: Vec<String>,
    /// The members of a cluster.
    #[arg(long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u64).range(1..=MAX_MEMBERS))]
    members: u64,
    /// The clients, each of which waits for its answer.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,64,1024",
        value_parser = clap::value_parser!(u64).range(1..=MAX_CLIENTS))]
    clients: Vec<u64>,
    #[command(flatten)]
    load: Load,
    /// The time for everything together.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "25",
        value_parser = parse_time)]
    seconds: Duration,
    /// A directory on the disk to measure [default: the current one].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The threads of a cluster's runtime; 1 is a runtime on a single thread.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Make the members three processes that talk over TCP, with clients of etcd's API.
    #[arg(long)]
    processes: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Etcd {
    /// Where the server takes clients.
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// The connections, spread over the endpoints; the clients are spread over them.
    #[arg(long, value_name = "N", default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_CONNECTIONS)))]
    connections: u16,
    /// The clients, each of which waits for its answer.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,64,1000",
        value_parser = clap::value_parser!(u64).range(1..=MAX_CLIENTS))]
    clients: Vec<u64>,
    #[command(flatten)]
    load: Load,
    /// The time for everything together.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value = "15",
        value_parser = parse_time)]
    seconds: Duration,
    #[command(flatten)]
    output: Output,
}

/// A measurement, checked.
#[derive(Debug)]
pub struct Task {
    plan: Plan,
    dir: Option<PathBuf>,
}

#[derive(Debug)]
enum Plan {
    Log(LogPlan),
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

    /// What is to be measured. Refuses what cannot be, before anything is written.
    pub fn into_task(self) -> Result<Task, Failure> {
        let (plan, dir) = match self.what {
            What::Log(log) => log.into_plan()?,
            What::Commit(commit) => commit.into_plan()?,
            What::Etcd(etcd) => etcd.into_plan()?,
        };
        let checked = match &plan {
            Plan::Log(plan) => plan.check(),
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
        let plan = LogPlan {
            backends: backends(self.backend),
            workloads: self.load.workloads(&self.clients),
            time: self.seconds,
            fill: if self.fresh { 0 } else { log::FILL_BYTES },
            verbs: self.verbs,
        };
        Ok((Plan::Log(plan), self.dir))
    }
}

impl Commit {
    fn into_plan(self) -> Result<(Plan, Option<PathBuf>), Failure> {
        let program = || {
            let own = std::env::current_exe();
            own.map_err(|error| Failure::of("this program cannot find itself", &error))
        };
        let plan = CommitPlan {
            backends: backends(self.backend),
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
        // Nothing is written here; the facts are those of this machine.
        Ok((Plan::Etcd(plan), None))
    }
}

impl Load {
    fn workloads(&self, clients: &[u64]) -> Vec<Workload> {
        // Clients that do not wait have no number.
        let clients = if self.rate.is_some() { &[1] } else { clients };
        let grid = Workload::grid(&self.size, &self.batch, clients).into_iter();
        grid.map(|one| Workload { rate: self.rate, ..one }).collect()
    }
}

impl Task {
    /// A directory on the disk to measure.
    pub fn place(&self) -> Result<Place, BenchError> {
        match self.plan {
            // What a server writes, it writes elsewhere.
            Plan::Etcd(_) => Place::new(Some(&std::env::temp_dir())),
            _ => Place::new(self.dir.as_deref()),
        }
    }

    /// Takes the figures.
    pub fn run(&self, place: &Place, stop: &Stop) -> Result<Vec<Row>, BenchError> {
        match &self.plan {
            Plan::Log(plan) => {
                let mut progress = Progress::on_terminal(plan.workloads.len());
                log::run(plan, place, stop, &mut progress)
            }
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
    /// Refuses a file that cannot be written, before the time is spent.
    pub fn check(&self) -> Result<(), Failure> {
        for path in self.json.iter().chain(&self.html) {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            if path.is_dir() || !parent.is_dir() {
                let text = format!("{} cannot be written", path.display());
                return Err(Failure::new(text).advise("name a file in a directory that is there"));
            }
        }
        match self.html.as_deref() == Some(Path::new("-")) {
            true => Err(Failure::new("--html needs a file").advise("as in --html report.html")),
            false => Ok(()),
        }
    }
}

/// The names as they are, and all of this build for `all`.
fn backends(names: Vec<String>) -> Vec<String> {
    match names.iter().any(|name| name == "all") {
        true => all_logs(),
        false => names,
    }
}

/// The seconds of a measurement.
fn parse_time(text: &str) -> Result<Duration, String> {
    let no_time = || "give the seconds that everything together may take, as in 25".to_owned();
    let seconds: f64 = text.parse().map_err(|_| no_time())?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| no_time())?;
    check_time(time).map_err(|error| format!("{error}; {}", error.advice()))?;
    Ok(time)
}

/// The arrivals in a second.
fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok().filter(|rate| RATES.contains(rate));
    rate.ok_or_else(|| "give the batches that arrive in a second, from 1 to 1000000".to_owned())
}

/// Bytes, with a unit if that is shorter.
fn parse_size(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        _ => return Err("write bytes, or a number with k or m, as in 64k".to_owned()),
    };
    let number: usize = digits.parse().map_err(|_| "this is no number of bytes".to_owned())?;
    let bytes = number.checked_mul(unit).filter(|bytes| *bytes <= MAX_SIZE);
    bytes.ok_or_else(|| "an entry has at most 8 MiB, as in 8m".to_owned())
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
    fn without_a_word_all_logs_of_the_build_are_measured() {
        let Ok(Task { plan: Plan::Log(plan), .. }) = task("log") else { panic!("it is a plan") };
        assert_eq!(plan.backends, all_logs());
        assert_eq!(plan.workloads.len(), 3);
        assert!(plan.time <= Duration::from_secs(45), "the answer comes in under a minute");
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
            ("etcd --endpoints a:1 --connections 0", "--connections"),
        ] {
            let failure = task(line).expect_err(line).to_string();
            assert!(failure.contains(says), "{line}: {failure}");
        }
    }

    #[test]
    fn a_size_may_have_a_unit() {
        assert_eq!([parse_size("256"), parse_size("64k")], [Ok(256), Ok(65_536)]);
        assert_eq!(parse_size("1MiB"), Ok(1 << 20));
        assert!(parse_size("").is_err() && parse_size("99999999999999999999m").is_err());
    }

    #[test]
    fn an_open_loop_has_no_number_of_clients() {
        let Ok(Task { plan: Plan::Commit(plan), .. }) = task("commit --rate 500") else {
            panic!("it is a plan")
        };
        assert_eq!((plan.workloads.len(), plan.workloads[0].rate), (1, Some(500.0)));
    }
}
