//! `kontiki`: run a cluster, run one member, and talk to either.
//!
//! - `up` starts a whole cluster on this machine, each member a process of its own, and watches it;
//! - `serve` runs one member;
//! - `put`, `get`, `del` and `status` are a small client;
//! - `log` looks at the logs of members that do not run, checks and copies them;
//! - `bench` measures: a log, a cluster, or a server;
//! - `completions`, `man` and `version` tell of the tool itself.
//!
//! Exit status: 0 when all went well, 1 when something failed, 2 when the command was not
//! understood, 3 when a member's log is damaged. Results go to the standard output, what is said
//! about them to the standard error.

mod arguments;
mod bench;
mod client;
mod command_line;
mod failure;
mod log;
mod log_lines;
mod manual;
mod output;
mod serve;
mod status;
mod up;

use std::process::ExitCode;

use clap::Parser;

use crate::command_line::{Arguments, Command};
use crate::failure::Failure;
use crate::log_lines::Logging;

/// A request is a few dozen small allocations, most of them the HTTP library's (decision 0007).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.logging.install(matches!(arguments.command, Command::Serve(_)));
    match run(arguments.command, arguments.logging) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_status())
        }
    }
}

fn run(command: Command, logging: Logging) -> Result<ExitCode, Failure> {
    // One thread carries everything but the log's: a single group of members is fastest so.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::of("the runtime cannot start", &error))?;
    runtime.block_on(async {
        match command {
            Command::Up(up) => up::run(up, logging).await,
            Command::Serve(serve) => serve::run(serve).await,
            Command::Bench(bench) => bench::run(bench).await,
            Command::Put(put) => client::put(put).await,
            Command::Get(get) => client::get(get).await,
            Command::Del(del) => client::del(del).await,
            Command::Status(status) => status::run(status).await,
            Command::Log(log) => log::run(log).await,
            Command::Completions(completions) => manual::completions(&completions),
            Command::Man(man) => manual::pages(&man),
            Command::Version => manual::version(),
        }
    })
}
