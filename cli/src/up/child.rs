//! The process of one member: starts, watches, stops and restarts it.
//!
//! Its standard input is a pipe that no process writes to. When this process ends for any reason,
//! the system closes the pipe and the member stops by itself. It has its own process group, so that
//! Ctrl-C reaches only this process, which then stops the members in order.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, timeout};

use super::plan::{MemberPlan, Plan};

/// The pause before a member that died is started again; doubled each time that the member died
/// before it answered. A member that had answered and was killed is restarted after this pause.
const BACK_OFF_MIN: Duration = Duration::from_millis(250);

/// The longest such pause.
const BACK_OFF_MAX: Duration = Duration::from_secs(8);

/// How long a member may take to stop after the signal, before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A member's process, running or not.
pub struct MemberProcess {
    /// The member's id and ports.
    pub plan: MemberPlan,
    arguments: Vec<String>,
    state: State,
    back_off: Duration,
    /// Whether it has answered since `up` started, in this process or an earlier one.
    pub has_answered: bool,
    /// Whether it has answered since its last start.
    is_up: bool,
    lines: Sender<(u64, String)>,
}

enum State {
    Running(Child),
    Waiting(Instant),
    Ended,
}

/// The result of [`MemberProcess::look`].
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
    /// A member that is not started yet. Each line of its standard error goes to `lines`, with its
    /// id.
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

    /// Takes the arguments from the plan again, for its next start.
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
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pass_on(self.plan.id, stderr, self.lines.clone()));
        }
        self.state = State::Running(child);
        self.is_up = false;
        Ok(())
    }

    /// Notes that it has answered; returns whether this was its first answer ever.
    pub fn answered(&mut self) -> bool {
        self.is_up = true;
        !std::mem::replace(&mut self.has_answered, true)
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        match &self.state {
            State::Running(child) => child.id(),
            State::Waiting(_) | State::Ended => None,
        }
    }

    /// Whether it runs or will be restarted.
    pub fn is_active(&self) -> bool {
        !matches!(self.state, State::Ended)
    }

    /// Checks whether it still runs, and starts it again when its pause is over.
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

    /// Schedules a restart, after the pause that this returns.
    pub fn restart_later(&mut self) -> Duration {
        let pause = if self.is_up { BACK_OFF_MIN } else { self.back_off };
        self.back_off = (pause * 2).min(BACK_OFF_MAX);
        self.state = State::Waiting(Instant::now() + pause);
        pause
    }

    /// Stops it permanently; `false` if it had to be killed.
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

/// Forwards a member's standard error line by line.
async fn pass_on(member: u64, stderr: ChildStderr, lines: Sender<(u64, String)>) {
    let mut stderr = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = stderr.next_line().await {
        if lines.send((member, line)).await.is_err() {
            return;
        }
    }
}
