//! `kontiki up`: a whole cluster on this machine, each member in its own process.
//!
//! One loop checks the members ten times a second, restarts those that died, and shows their
//! status. It does not restart a member with a volatile backend: the member would lack its votes,
//! and the others would rightly refuse it (`docs/assumptions.md` explains why). It also does not
//! restart a member whose log is damaged or that never came up: the cause would prevent the next
//! start too.

mod board;
mod child;
mod plan;

use std::net::TcpListener;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use kontiki::DataDir;
use kontiki_etcd::Client;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::arguments::Up;
use crate::failure::{DAMAGED, Failure, chain};
use crate::log_lines::Logging;
use crate::status::MemberStatus;
use board::Board;
use child::{Found, MemberProcess};
use plan::Plan;
pub use plan::{FILE_NAME as CLUSTER_FILE, on_backend as cluster_on_backend};

/// The interval between two checks of the processes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The interval between two status requests to a member.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// How long ports may still be used by members of a run that ended a moment ago.
const PORT_PATIENCE: Duration = Duration::from_secs(3);

/// The time after which `up` reports that the cluster has not come up yet.
const SLOW_START: Duration = Duration::from_secs(10);

/// The number of unanswered requests after which a member is shown as silent.
const MAX_MISSES: u32 = 3;

/// The number of the members' output lines that wait to be shown.
const MAX_LINES: usize = 256;

/// Starts a cluster and watches it until a signal stops it.
pub async fn run(up: Up, logging: Logging) -> Result<ExitCode, Failure> {
    let mut plan = Plan::from_arguments(&up)?;
    plan.logging = logging.arguments();
    check_ports(&plan).await?;
    let _lock = if plan.durable {
        Some(DataDir::open(&plan.dir).map_err(|error| Failure::new(chain(&error)))?)
    } else {
        None
    };
    plan.save()?;
    let mut stop = Stop::listen()?;
    let mut cluster = Cluster::start(plan)?;
    let outcome = cluster.watch(&mut stop).await;
    cluster.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Checks for ports in use here, where the message can name the member that needs them.
async fn check_ports(plan: &Plan) -> Result<(), Failure> {
    let begin = Instant::now();
    for member in &plan.members {
        let uses =
            [(member.client_port, "serves clients"), (member.peer_port, "listens for peers")];
        for (port, what) in uses {
            while let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
                if begin.elapsed() > PORT_PATIENCE {
                    let text = format!("port {port}, where member {} {what}", member.id);
                    return Err(Failure::of(text, &error).advise(
                        "stop the program that uses it (another `kontiki up`?), or choose others \
                         with --base-port P and a --dir of their own",
                    ));
                }
                sleep(LOOK_EVERY).await;
            }
        }
    }
    Ok(())
}

/// The signals that stop the cluster.
struct Stop {
    signals: [Signal; 3],
}

impl Stop {
    fn listen() -> Result<Stop, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::of("signal handlers cannot be set", &error))
        };
        let [int, term] = [SignalKind::interrupt(), SignalKind::terminate()];
        Ok(Stop { signals: [listen(int)?, listen(term)?, listen(SignalKind::hangup())?] })
    }

    async fn received(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// The running cluster.
struct Cluster {
    plan: Plan,
    members: Vec<MemberProcess>,
    statuses: Vec<MemberStatus>,
    /// The number of requests since each member's last answer.
    misses: Vec<u32>,
    board: Board,
    lines: Receiver<(u64, String)>,
    answers: Receiver<(usize, MemberStatus)>,
    begin: Instant,
    announced: bool,
    complained: bool,
}

impl Cluster {
    fn start(plan: Plan) -> Result<Cluster, Failure> {
        let (sender, lines) = mpsc::channel(MAX_LINES);
        let (reports, answers) = mpsc::channel(MAX_LINES);
        let mut members = Vec::new();
        for (place, member) in plan.members.iter().enumerate() {
            let mut process = MemberProcess::new(&plan, member, sender.clone());
            let started = process.start();
            started.map_err(|e| Failure::of(format!("member {} cannot start", member.id), &e))?;
            tokio::spawn(ask(place, member.endpoint(), reports.clone()));
            members.push(process);
        }
        let count = members.len();
        let mut cluster = Cluster {
            plan,
            statuses: Vec::with_capacity(count),
            misses: vec![0; count],
            members,
            board: Board::new(),
            lines,
            answers,
            begin: Instant::now(),
            announced: false,
            complained: false,
        };
        cluster.statuses = cluster.members.iter().map(starting).collect();
        Ok(cluster)
    }

    async fn watch(&mut self, stop: &mut Stop) -> Result<(), Failure> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.received() => return Ok(()),
                Some((member, line)) = self.lines.recv() => {
                    self.board.print_once(&format!("member {member}: {line}"));
                }
                Some((place, status)) = self.answers.recv() => self.learn(place, status)?,
                _ = look.tick() => self.look()?,
            }
        }
    }

    /// Handles a member's status, or a missing answer.
    fn learn(&mut self, place: usize, status: MemberStatus) -> Result<(), Failure> {
        let member = &mut self.members[place];
        // An answer of another process is from before a restart, or from another cluster.
        let answered = status.pid.is_some() && status.pid == member.pid();
        self.misses[place] = if answered { 0 } else { self.misses[place] + 1 };
        if answered {
            // A member that reports that it has stopped is about to end, and never came up.
            if status.role != "stopped" && member.answered() {
                self.plan.has_begun(member.plan.id)?;
                member.set_arguments(&self.plan);
            }
            self.statuses[place] = status;
        } else if member.pid().is_some() && self.misses[place] == MAX_MISSES {
            let role = if member.has_answered { "silent" } else { "starting" };
            self.statuses[place] = MemberStatus { role: role.to_owned(), ..starting(member) };
        }
        self.board.show(&self.statuses);
        self.announce();
        Ok(())
    }

    /// Announces once that the cluster serves, and what to try.
    fn announce(&mut self) {
        let up = self.members.iter().all(|member| member.has_answered || !member.is_active());
        let led = self.statuses.iter().any(|status| status.role == "leader");
        if self.announced {
            return;
        }
        if up && led {
            self.announced = true;
            let (endpoints, backend) = (self.plan.endpoints(), &self.plan.backend);
            let place = if self.plan.durable {
                format!("in {}", self.plan.dir.display())
            } else {
                "in memory only".to_owned()
            };
            let text = format!(
                "the cluster is up (log: {backend}, {place}); Ctrl-C stops it. Try:\n  \
                 etcdctl --endpoints={endpoints} put hello world\n  \
                 etcdctl --endpoints={endpoints} get hello"
            );
            self.board.print_once(&text);
        } else if !self.complained && self.begin.elapsed() > SLOW_START {
            self.complained = true;
            self.board.print_once("still waiting for the members to answer and to elect a leader");
        }
    }

    fn look(&mut self) -> Result<(), Failure> {
        for place in 0..self.members.len() {
            match self.members[place].look() {
                Found::Same => {}
                Found::Died(status) => self.handle_death(place, status),
                Found::Restarted(Ok(())) => {
                    let (id, pid) = (self.members[place].plan.id, self.members[place].pid());
                    let pid = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
                    self.statuses[place] = starting(&self.members[place]);
                    self.board.print_once(&format!("member {id} is started again{pid}"));
                }
                Found::Restarted(Err(error)) => {
                    let id = self.members[place].plan.id;
                    self.members[place].restart_later();
                    self.board.print_once(&format!("member {id} cannot be started: {error}"));
                }
            }
        }
        let remaining = self.members.iter().filter(|member| member.is_active()).count();
        if remaining * 2 > self.members.len() {
            Ok(())
        } else {
            Err(Failure::new("the cluster has lost its majority permanently").advise(
                if self.plan.durable {
                    "see above why the members stopped; then start it again"
                } else {
                    "the data was in memory and is lost; start again for a new cluster"
                },
            ))
        }
    }

    /// Reports that a member died, and whether it is restarted.
    fn handle_death(&mut self, place: usize, status: ExitStatus) {
        let member = &mut self.members[place];
        let id = member.plan.id;
        let next = if !self.plan.durable {
            format!(
                "it is not started again: a {} log ends with its process, and a member without its \
                 votes must not vote again",
                self.plan.backend
            )
        } else if status.code() == Some(DAMAGED.into()) {
            "it is not started again: its log is damaged, see above".to_owned()
        } else if !member.has_answered && status.code().is_some() {
            "it is not started again: it did not come up, see above why".to_owned()
        } else {
            format!("it is started again in {} ms", member.restart_later().as_millis())
        };
        self.statuses[place] = MemberStatus { role: "down".to_owned(), ..starting(member) };
        self.board.print_once(&format!("member {id} has ended ({status}); {next}"));
        self.board.show(&self.statuses);
    }

    /// Stops all members, one after another.
    async fn stop(&mut self) {
        for member in &mut self.members {
            let id = member.plan.id;
            if !member.stop().await {
                self.board.print_once(&format!("member {id} did not stop in time and was killed"));
            }
        }
        // The members' last lines are still in the channel.
        while let Ok((member, line)) = self.lines.try_recv() {
            self.board.print_once(&format!("member {member}: {line}"));
        }
        for (status, member) in self.statuses.iter_mut().zip(&self.members) {
            *status = MemberStatus { role: "stopped".to_owned(), ..starting(member) };
        }
        self.board.show(&self.statuses);
        self.board.print_once("all members are stopped");
    }
}

/// The status of a member that has not answered yet.
fn starting(member: &MemberProcess) -> MemberStatus {
    MemberStatus {
        id: Some(member.plan.id),
        endpoint: member.plan.endpoint(),
        role: "starting".to_owned(),
        pid: member.pid(),
        ..MemberStatus::default()
    }
}

/// Asks a member for its status repeatedly.
async fn ask(place: usize, endpoint: String, answers: Sender<(usize, MemberStatus)>) {
    let client = Client::new([&endpoint]).expect("an address of the form host:port");
    loop {
        for answer in client.status().await {
            let status = MemberStatus::new(answer.endpoint, answer.status);
            if answers.send((place, status)).await.is_err() {
                return;
            }
        }
        sleep(ASK_EVERY).await;
    }
}
