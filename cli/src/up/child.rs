//! One member as a process: started, watched, told to stop, started again.
//!
//! Its standard input is a pipe that no process writes to. When this process is gone, for whatever
//! reason, the system closes the pipe and the member stops by itself. Its process group is its own,
//! so that Ctrl-C reaches this process alone, which then stops the members in order.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, timeout};

use super::plan::{MemberPlan, Plan};

/// The pause before a member that died is started again; doubled each time that it has died before
/// it answered. One that was up and was killed has nothing to mend by waiting.
const BACK_OFF_MIN: Duration = Duration::from_millis(250);

/// The longest such pause.
const BACK_OFF_MAX: Duration = Duration::from_secs(8);

/// How long a member may take to stop when told to, before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A member's process, or the place where it was.
pub struct MemberProcess {
    /// What it is.
    pub plan: MemberPlan,
    arguments: Vec<String>,
    state: State,
    back_off: Duration,
    /// Whether it has answered, in any of its lives.
    pub has_answered: bool,
    /// Whether it has answered since it was started last.
    is_up: bool,
    lines: Sender<(u64, String)>,
}

enum State {
    Running(Child),
    Waiting(Instant),
    Ended,
}

/// What a look at the process has found.
#[derive(Debug)]
pub enum Found {
    /// Nothing new.
    Same,
    /// It has just ended.
    Died(ExitStatus),
    /// Its pause is over: it was started again.
    Restarted(io::Result<()>),
}

impl MemberProcess {
    /// A member that is not started yet. What it says goes to `lines`, with its id.
    pub fn new(plan: &Plan, member: &MemberPlan, lines: Sender<(u64, String)>) -> MemberProcess {
        MemberProcess {
            plan: member.clone(),
            arguments: plan.serve_arguments(member),
            state: State::Ended,
            back_off: BACK_OFF_MIN,
            has_answered: false,
            is_up: false,
            lines,
        }
    }

    /// From its next start on, it is started as the plan says now.
    pub fn set_arguments(&mut self, plan: &Plan) {
        self.arguments = plan.serve_arguments(&self.plan);
    }

    /// Starts the process.
    pub fn start(&mut self) -> io::Result<()> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(said) = child.stderr.take() {
            tokio::spawn(pass_on(self.plan.id, said, self.lines.clone()));
        }
        self.state = State::Running(child);
        self.is_up = false;
        Ok(())
    }

    /// It has answered; gives whether that was for the first time ever.
    pub fn answered(&mut self) -> bool {
        self.is_up = true;
        !std::mem::replace(&mut self.has_answered, true)
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        match &self.state {
            State::Running(child) => child.id(),
            State::Waiting(_) | State::Ended => None,
        }
    }

    /// Whether it runs, or will again.
    pub fn is_hoped_for(&self) -> bool {
        !matches!(self.state, State::Ended)
    }

    /// Looks whether it still runs, and starts it again when its pause is over.
    pub fn look(&mut self) -> Found {
        match &mut self.state {
            State::Ended => Found::Same,
            State::Waiting(until) if Instant::now() < *until => Found::Same,
            State::Waiting(_) => {
                self.state = State::Ended;
                Found::Restarted(self.start())
            }
            State::Running(child) => match child.try_wait() {
                Ok(Some(status)) => {
                    self.state = State::Ended;
                    Found::Died(status)
                }
                _ => Found::Same,
            },
        }
    }

    /// It will be started again, after the pause that this returns.
    pub fn restart_later(&mut self) -> Duration {
        let pause = if self.is_up { BACK_OFF_MIN } else { self.back_off };
        self.back_off = (pause * 2).min(BACK_OFF_MAX);
        self.state = State::Waiting(Instant::now() + pause);
        pause
    }

    /// Stops it for good; `false` if it had to be killed.
    pub async fn stop(&mut self) -> bool {
        let State::Running(mut child) = std::mem::replace(&mut self.state, State::Ended) else {
            return true;
        };
        let pid = child.id().and_then(|pid| Pid::from_raw(pid as i32));
        // It may have ended by itself, in which case there is no process to signal.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        if timeout(STOP_PATIENCE, child.wait()).await.is_ok() {
            return true;
        }
        let _ = child.kill().await;
        false
    }
}

/// Hands on what a member says on its standard error, line by line.
async fn pass_on(member: u64, said: ChildStderr, lines: Sender<(u64, String)>) {
    let mut said = BufReader::new(said).lines();
    while let Ok(Some(line)) = said.next_line().await {
        if lines.send((member, line)).await.is_err() {
            return;
        }
    }
}
