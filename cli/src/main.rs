//! `kontiki`: runs a cluster or one member, and is a client for either.
//!
//! - `up` starts a whole cluster on this machine, each member in its own process, and watches it;
//! - `serve` runs one member;
//! - `put`, `get`, `del` and `status` are a small client, and `snapshot` lets members take
//!   snapshots;
//! - `transfer` hands the leadership over, and `events` shows what happens to members;
//! - `member` shows and changes the members of a running cluster;
//! - `log` inspects, checks and copies the logs of members that are not running;
//! - `recover` makes a new cluster out of a member that survived the loss of a majority;
//! - `bench` measures a log, a cluster, or a server;
//! - `completions`, `man` and `version` describe the tool itself.
//!
//! The exit status is 0 for success, 1 for a failure, 2 if the command line was not understood, and
//! 3 if a member's log is damaged. Results go to the standard output, messages about them to the
//! standard error.

mod arguments;
mod ask;
mod bench;
mod client;
mod command_line;
mod events;
mod failure;
mod log;
mod log_lines;
mod manual;
mod member;
mod output;
mod recover;
mod serve;
mod snapshot;
mod status;
mod transfer;
mod up;

use std::process::ExitCode;

use clap::Parser;

use crate::command_line::{Arguments, Command};
use crate::failure::Failure;
use crate::log_lines::Logging;

/// A request makes a few dozen small allocations, most of them in the HTTP library (decision 0007).
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
    // One thread runs everything except the log: this is the fastest for a single Raft group.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::of("the runtime cannot start", &error))?;
    runtime.block_on(async {
        match command {
            Command::Up(up) => up::run(up, logging).await,
            Command::Serve(serve) => serve::run(*serve).await,
            Command::Bench(bench) => bench::run(bench).await,
            Command::Put(put) => client::put(put).await,
            Command::Get(get) => client::get(get).await,
            Command::Del(del) => client::del(del).await,
            Command::Status(status) => status::run(status).await,
            Command::Transfer(transfer) => transfer::run(transfer).await,
            Command::Events(events) => events::run(events).await,
            Command::Snapshot(snapshot) => snapshot::run(snapshot).await,
            Command::Member(member) => member::run(member).await,
            Command::Log(log) => log::run(log).await,
            Command::Recover(recover) => recover::run(&recover).await,
            Command::Completions(completions) => manual::completions(&completions),
            Command::Man(man) => manual::pages(&man),
            Command::Version => manual::version(),
        }
    })
}
