//! The table of jobs, in the order in which they run: quick jobs that fail most often come first.
//!
//! To add a job, add a line. `Depth::Deep` marks a job that only `--deep` runs.
//!
//! RocksDB's C++ is compiled once, in the release profile, for the jobs that link it. They all
//! select the same packages, because cargo builds a shared dependency again for each set of its
//! features. Jobs that only check the code use [`NO_CPP`], and compile no C++.

/// One check of the project.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// The name in the table of times.
    pub name: &'static str,
    /// When it runs.
    pub depth: Depth,
    /// What the job runs.
    pub work: Work,
}

/// When a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// In every run.
    Always,
    /// Only with `--deep`.
    Deep,
}

/// What a job does.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Looks for the programs that the other jobs call, and installs them where it can.
    Packages,
    /// Runs cargo with these arguments; the pairs are added to its environment, where `{programs}`
    /// is the folder of the programs that earlier jobs have built.
    Cargo(&'static str, &'static [(&'static str, &'static str)]),
    /// Checks a package with only these of its features; with none if the list is empty.
    Alone(&'static str, &'static str),
}

use Depth::{Always, Deep};
use Work::{Alone, Cargo, Packages};

/// The cargo arguments that run the simulator; its options follow. All its jobs share one build.
macro_rules! simulator {
    () => {
        "run --release --package kontiki-harness --example sim --features mutants -- "
    };
}

/// The cargo arguments that test the packages that link RocksDB.
macro_rules! rocksdb {
    () => {
        "test --release --package kontiki-log-rocksdb --package kontiki-cli \
         --features kontiki-cli/rocksdb,kontiki-cli/sqlite "
    };
}

/// Rounds of kills on a backend, with one build for all backends.
macro_rules! kills {
    () => {
        concat!(rocksdb!(), "--test kill_rounds -- --nocapture")
    };
}

/// Packages what a registry would get: the facade and everything that it depends on.
macro_rules! packages {
    () => {
        "package --package kontiki --package kontiki-core --package kontiki-node \
         --package kontiki-net --package kontiki-log-file --package kontiki-log-memory \
         --package kontiki-log-sqlite --package kontiki-log-rocksdb \
         --package kontiki-owned-dir --package kontiki-crash-disk --package kontiki-harness "
    };
}

/// The random checks on the backends that need no C++; a filter for the checks follows.
macro_rules! seeds {
    () => {
        "test --release --package kontiki-log-memory --package kontiki-log-file \
         --package kontiki-log-sqlite --test conformance -- "
    };
}

/// The numbers of random runs that a correct store must pass without a false alarm.
const SEEDS: &[(&str, &str)] =
    &[("KONTIKI_SEEDS", "1000"), ("KONTIKI_CASES", "10"), ("KONTIKI_IMAGES", "4")];

/// RocksDB's build script takes this folder for one with a library, and so does not compile its
/// own. Jobs that only check the code link nothing, so they do not need the library.
const NO_CPP: (&str, &str) = ("ROCKSDB_LIB_DIR", "{programs}");

const JOBS: &[Job] = &[
    job("system packages", Always, Packages),
    job("format", Always, Cargo("fmt --all --check", &[])),
    job("tidy", Always, Cargo("test --package kontiki-harness --test tidy", &[])),
    job("clippy", Always, Cargo("clippy --workspace --all-targets -- --deny warnings", &[NO_CPP])),
    job("kontiki, no feature", Always, Alone("kontiki", "")),
    job("kontiki, memory alone", Always, Alone("kontiki", "memory")),
    job("kontiki, file alone", Always, Alone("kontiki", "file")),
    job("kontiki, sqlite alone", Always, Alone("kontiki", "sqlite")),
    job("kontiki, rocksdb alone", Always, Alone("kontiki", "rocksdb")),
    job("kontiki, all together", Always, Alone("kontiki", "memory,file,sqlite,rocksdb")),
    job("cli, memory alone", Always, Alone("kontiki-cli", "memory")),
    job("cli, file alone", Always, Alone("kontiki-cli", "file")),
    job("cli, sqlite alone", Always, Alone("kontiki-cli", "sqlite")),
    job("cli, rocksdb alone", Always, Alone("kontiki-cli", "rocksdb")),
    job("cli, all together", Always, Alone("kontiki-cli", "memory,file,sqlite,rocksdb")),
    job(
        "tests",
        Always,
        Cargo("test --workspace --exclude kontiki-log-rocksdb --all-targets", &[]),
    ),
    job(
        "interleavings",
        Always,
        Cargo("test --package kontiki-node --test loom", &[("KONTIKI_PREEMPTIONS", "4")]),
    ),
    job("doc tests", Always, Cargo("test --workspace --exclude kontiki-log-rocksdb --doc", &[])),
    job(
        "tool, with sqlite",
        Always,
        Cargo("test --package kontiki-cli --features sqlite --test log --test cluster", &[]),
    ),
    job(
        "documentation",
        Always,
        Cargo("doc --no-deps --workspace", &[("RUSTDOCFLAGS", "--deny warnings"), NO_CPP]),
    ),
    job(
        "examples",
        Always,
        Cargo("build --workspace --exclude kontiki-log-rocksdb --examples", &[]),
    ),
    job("packages", Always, Cargo(concat!(packages!(), "--no-verify"), &[])),
    job("packages, built", Deep, Cargo(packages!(), &[NO_CPP])),
    job(
        "planted bugs, traces",
        Always,
        Cargo("test --package kontiki-core --features mutants", &[]),
    ),
    job(
        "planted bugs, pump",
        Always,
        Cargo("test --package kontiki-node --features mutants --lib", &[]),
    ),
    job(
        "planted bugs, sqlite",
        Always,
        Cargo("test --package kontiki-log-sqlite --features mutants --test planted", &[]),
    ),
    job(
        "etcd's answers, a cluster's",
        Always,
        Cargo(
            "test --package kontiki-etcd --test against_etcd",
            &[("KONTIKI_BIN", "{programs}/kontiki")],
        ),
    ),
    job("simulator", Always, Cargo(concat!(simulator!(), "--inputs 10000000 --marks"), &[])),
    job(
        "simulator, file",
        Always,
        Cargo(concat!(simulator!(), "--store mixed --inputs 10000000 --marks"), &[]),
    ),
    job(
        "planted bugs, simulator",
        Always,
        Cargo(concat!(simulator!(), "--mutants --inputs 20000000"), &[]),
    ),
    job(
        "RocksDB",
        Always,
        Cargo(
            concat!(
                rocksdb!(),
                "--lib --test conformance --test rocks --test lock_step --test log"
            ),
            &[],
        ),
    ),
    job(
        "planted bugs, rocksdb",
        Always,
        Cargo(concat!(rocksdb!(), "--features kontiki-log-rocksdb/mutants --test planted"), &[]),
    ),
    job(
        "openraft's durable stores",
        Deep,
        Cargo("test --manifest-path openraft-adapter/durable/Cargo.toml", &[]),
    ),
    job("100 kills", Always, Cargo(kills!(), &[("KONTIKI_ROUNDS", "100")])),
    job(
        "30 kills, sqlite",
        Always,
        Cargo(kills!(), &[("KONTIKI_ROUNDS", "30"), ("KONTIKI_BACKEND", "sqlite")]),
    ),
    job(
        "30 kills, rocksdb",
        Always,
        Cargo(kills!(), &[("KONTIKI_ROUNDS", "30"), ("KONTIKI_BACKEND", "rocksdb")]),
    ),
    job(
        "100 kills, sqlite",
        Deep,
        Cargo(kills!(), &[("KONTIKI_ROUNDS", "100"), ("KONTIKI_BACKEND", "sqlite")]),
    ),
    job(
        "100 kills, rocksdb",
        Deep,
        Cargo(kills!(), &[("KONTIKI_ROUNDS", "100"), ("KONTIKI_BACKEND", "rocksdb")]),
    ),
    job(
        "RocksDB, deep",
        Deep,
        Cargo(
            concat!(rocksdb!(), "--lib --test conformance --test rocks"),
            &[("KONTIKI_DEEP", "1")],
        ),
    ),
    job(
        "simulator, 100 million",
        Deep,
        Cargo(concat!(simulator!(), "--inputs 100000000 --first 1000 --store mixed --marks"), &[]),
    ),
    job(
        "planted bugs, matrix",
        Deep,
        Cargo(
            "test --package kontiki-harness --test planted_stores --test planted_files \
             --test planted_journal --test planted_rows -- --nocapture every_row the_matrix",
            &[("KONTIKI_DEEP", "1")],
        ),
    ),
    job("1000 seeds, random steps", Deep, Cargo(concat!(seeds!(), "random::"), SEEDS)),
    job("1000 seeds, power cuts", Deep, Cargo(concat!(seeds!(), "random_batches"), SEEDS)),
    job("benches, once", Deep, Cargo("bench --package kontiki-benches -- --test", &[])),
    job("peers", Deep, Cargo("test --package kontiki-benches --features peers", &[])),
    job(
        "tests, optimized",
        Deep,
        Cargo("test --workspace --exclude kontiki-log-rocksdb --release", &[]),
    ),
];

const fn job(name: &'static str, depth: Depth, work: Work) -> Job {
    Job { name, depth, work }
}

/// The jobs that are run, in order.
pub fn table(deep: bool) -> Vec<Job> {
    JOBS.iter().copied().filter(|job| deep || job.depth == Always).collect()
}

/// Prints the jobs, one per line, each with its command.
pub fn list(deep: bool) {
    for job in table(deep) {
        println!("{:<24} {}", job.name, job.command());
    }
}

impl Job {
    /// The command as a user would type it.
    pub fn command(&self) -> String {
        let Some((words, environment)) = self.cargo() else {
            return "(checks for rustfmt, clippy, etcd, etcdctl, c++ and libclang)".to_owned();
        };
        let set = environment.iter().map(|(name, value)| format!("{name}='{value}' "));
        format!("{}cargo {words}", set.collect::<String>())
    }

    /// The arguments and the environment for cargo, if the job runs cargo.
    pub fn cargo(&self) -> Option<(String, &'static [(&'static str, &'static str)])> {
        match self.work {
            Packages => None,
            Cargo(words, environment) => Some((words.to_owned(), environment)),
            Alone(package, feature) => Some((alone(package, feature), &[NO_CPP])),
        }
    }
}

fn alone(package: &str, feature: &str) -> String {
    let features = match feature {
        "" => String::new(),
        one => format!(" --features {one}"),
    };
    format!("clippy --package {package} --no-default-features{features} -- --deny warnings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_has_a_unique_name() {
        let names: Vec<&str> = JOBS.iter().map(|job| job.name).collect();
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len());
    }

    #[test]
    fn deep_adds_jobs_and_removes_none() {
        let plain = table(false).len();
        let deep = JOBS.iter().filter(|job| job.depth == Deep).count();
        assert_eq!(table(true).len(), plain + deep);
    }
}
