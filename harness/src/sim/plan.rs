//! What a seed draws: how many members, which limits, which faults and how often.
//!
//! This is swarm testing: each fault is left out of about half of the seeds, since faults can hide
//! each other. Rates are drawn on a logarithmic scale, so that rare and frequent faults are equally
//! likely. One seed in sixteen is *boring*: nothing fails, and everything must simply work.

use raft_core::consensus::Config;
use raft_core::types::NodeId;
use raft_node::pump::Limits;

use crate::rng::MILLION;
use crate::rng::Rng;
use crate::sim::{TICK, Time};

/// Everything that a seed decides before its run starts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The number of members that the cluster starts with.
    pub members: u64,
    /// Whether nothing fails.
    pub boring: bool,
    /// The settings of the protocol; each member has its own id and seed.
    pub config: Config,
    /// The pump's limits.
    pub limits: Limits,
    /// How the network behaves.
    pub network: NetworkPlan,
    /// How disks, state machines and processors behave.
    pub host: HostPlan,
    /// Which faults are injected at members.
    pub faults: FaultPlan,
    /// What the clients do.
    pub clients: ClientPlan,
    /// What the operator of the cluster does.
    pub operator: OperatorPlan,
    /// Whether every second client uses sessions.
    pub uses_sessions: bool,
    /// How snapshots are taken.
    pub snapshots: SnapshotPlan,
    /// Whether the members have leases, and which reads use them.
    pub leases: LeasePlan,
    /// Whether a majority of the members lose their disks at the end.
    pub loses_disks: bool,
}

/// How the network behaves. Rates are per million messages.
#[derive(Clone, Debug)]
pub struct NetworkPlan {
    /// The typical delay of a message.
    pub delay: Time,
    /// The rate of messages that are lost.
    pub loss: u64,
    /// The rate of messages that arrive twice.
    pub duplicate: u64,
    /// The rate of messages that are late; their delay has a heavy tail.
    pub late: u64,
    /// The typical delay of a late message.
    pub late_delay: Time,
    /// The rate of sends upon which an old message is delivered again.
    pub archive: u64,
    /// Whether messages from one member to another keep their order, as on one connection.
    pub ordered: bool,
}

/// How the hosts of the members behave: their disks, state machines, clocks and processors.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// How long a write typically takes.
    pub write: Time,
    /// How long a read of entries typically takes.
    pub read: Time,
    /// How long it takes to apply a batch. If zero, it is applied between two turns.
    pub apply: Time,
    /// How long a turn of the pump takes. Events that arrive in the meantime wait for the next
    /// turn.
    pub turn: Time,
    /// By how much clocks may run too fast or too slowly, in millionths.
    pub drift: u64,
    /// The rate of writes that fail, per million.
    pub failed_writes: u64,
    /// The rate of reads of entries that fail, per million.
    pub failed_reads: u64,
    /// The rate of batches that the state machine fails to apply, per million. Its member then
    /// stops.
    pub failed_applies: u64,
    /// Whether the state machine keeps its state through crashes.
    pub durable_machine: bool,
}

/// How often faults are injected at members, and which. The weights set how likely each fault is.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    /// The typical time between two faults.
    pub interval: Time,
    /// The typical time until a partition is healed, a slow disk recovers, or a stopped member
    /// starts again.
    pub duration: Time,
    /// The rate of faults that are injected at the leader, per million; the others are injected at
    /// any member.
    pub at_leader: u64,
    /// The weight of each kind of fault.
    pub weights: [u64; FaultKind::ALL.len()],
    /// The rate, per million granted votes, at which the voter crashes and restarts at once.
    pub crash_upon_vote: u64,
    /// The rate, per million elections, at which the new leader is partitioned or crashes.
    pub fault_upon_election: u64,
}

/// The faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// One member is isolated.
    Isolate,
    /// The messages of one member arrive, but no message reaches it; or the reverse.
    OneWay,
    /// The network is partitioned into two groups of members.
    Split,
    /// The network is partitioned into two groups, and one member can reach both.
    Bridge,
    /// One member crashes; data that it had not synced may be lost.
    Crash,
    /// All members lose power at the same time.
    PowerCut,
    /// One member pauses for a while.
    Pause,
    /// One disk becomes slow.
    SlowDisk,
    /// One disk completes no write for a long while.
    StallDisk,
}

impl FaultKind {
    /// All faults.
    pub const ALL: [FaultKind; 9] = [
        FaultKind::Isolate,
        FaultKind::OneWay,
        FaultKind::Split,
        FaultKind::Bridge,
        FaultKind::Crash,
        FaultKind::PowerCut,
        FaultKind::Pause,
        FaultKind::SlowDisk,
        FaultKind::StallDisk,
    ];
}

/// What the clients do.
#[derive(Clone, Debug)]
pub struct ClientPlan {
    /// The number of clients.
    pub count: u64,
    /// The typical time between an answer and the next request.
    pub think: Time,
    /// The typical time after which a client that has no answer sends another request. If zero,
    /// clients wait without limit.
    pub patience: Time,
    /// The rate of requests that read, per million.
    pub reads: u64,
    /// The maximum number of commands that are proposed together.
    pub group: u64,
    /// The maximum number of padding bytes in a command.
    pub padding: u64,
    /// The rate of requests that go to a member that believes it leads, per million.
    pub at_leader: u64,
}

/// What the operator of the cluster asks members for.
#[derive(Clone, Debug)]
pub struct OperatorPlan {
    /// The typical time between two requests; zero if there are none.
    pub interval: Time,
    /// The rate of requests that go to the leader, per million; the others go to any member.
    pub at_leader: u64,
    /// The rate of requests that change the membership, per million; the others are transfers.
    pub changes: u64,
    /// The number of nodes that may join.
    pub newcomers: u64,
    /// The nodes that run an older program until a restart; bit n stands for node n.
    pub old_programs: u64,
    /// The rate of changes that the leader makes the whole way, per million; the others are single
    /// steps.
    pub whole_changes: u64,
    /// For how many ticks such a change waits without progress.
    pub change_ticks: u64,
}

/// How snapshots are taken. The limits say when.
#[derive(Clone, Debug)]
pub struct SnapshotPlan {
    /// Whether members take snapshots, and purge their logs.
    pub are_taken: bool,
    /// The rate of writes of snapshot files that fail, per million.
    pub failed: u64,
}

/// Whether members have leases, and what reads may show. Rates are per million reads. The bound on
/// clock drift is in the settings of the protocol.
#[derive(Clone, Debug)]
pub struct LeasePlan {
    /// Whether the clocks run within the bound.
    pub within_bound: bool,
    /// The rate of reads that a lease may answer.
    pub by_lease: u64,
    /// The rate of the other reads that only an index binds.
    pub at_least: u64,
    /// The rate of the rest that are local.
    pub local: u64,
}

impl Plan {
    /// The number of nodes: the members at the start, and those that may join.
    pub fn nodes(&self) -> u64 {
        self.members + self.operator.newcomers
    }

    /// Draws the plan of this seed.
    pub fn draw(seed: u64) -> Plan {
        let mut rng = Rng::stream(seed, "plan", 0);
        let boring = rng.below(16) == 0;
        let config = draw_config(&mut rng);
        let election = Time::from(config.election_ticks_max) * TICK;
        let operator = draw_operator(seed, election);
        let members = rng.one_of(&[3, 3, 3, 3, 3, 3, 5, 5, 5, 4, 4, 2, 1]);
        let change_ticks = operator.change_ticks;
        let limits = Limits { change_ticks, ..draw_limits(&mut rng) };
        let (snapshots, limits) = draw_snapshots(seed, boring, limits);
        let (uses_sessions, limits) = draw_sessions(seed, limits);
        let network = draw_network(&mut rng, boring, election);
        let mut host = draw_host(&mut rng, boring, election);
        let (leases, config) = draw_leases(seed, &mut host, boring, config);
        Plan {
            seed,
            members,
            boring,
            limits,
            snapshots,
            network,
            host,
            leases,
            faults: draw_faults(&mut rng, boring, election),
            clients: draw_clients(&mut rng, election),
            loses_disks: rng.below(4) == 0,
            operator,
            uses_sessions,
            config,
        }
    }
}

fn draw_config(rng: &mut Rng) -> Config {
    let heartbeat = rng.between(1, 4) as u32;
    let election = heartbeat * rng.between(2, 6) as u32 + 1;
    let any_member = NodeId::new(1).expect("not zero");
    Config {
        heartbeat_ticks: heartbeat,
        election_ticks_min: election,
        election_ticks_max: election + rng.between(2, u64::from(election) + 2) as u32,
        stall_ticks: election * rng.between(1, 4) as u32,
        max_append_entries: rng.one_of(&[1, 2, 8, 4096]),
        max_inflight_entries: rng.one_of(&[1, 4, 64, 65_536]),
        max_inflight_bytes: rng.one_of(&[1, 200, 4096, 16 << 20]),
        pre_vote: rng.below(3) > 0,
        check_quorum: rng.below(3) > 0,
        ..Config::new(any_member, 0)
    }
}

fn draw_limits(rng: &mut Rng) -> Limits {
    Limits {
        append_bytes: rng.one_of(&[1, 100, 1 << 20]),
        apply_bytes: rng.one_of(&[1, 100, 4 << 20]),
        batch_bytes: rng.one_of(&[1, 100, 4 << 20]),
        unwritten_bytes: rng.one_of(&[1, 500, 128 << 20]),
        forward_commands: rng.one_of(&[1, 2, 4096]),
        tail_bytes: rng.one_of(&[0, 100, 4096, 32 << 20]),
        proposal_ticks: rng.one_of(&[20, 100, 500]),
        read_ticks: rng.one_of(&[20, 100, 500]),
        read_attempts: rng.one_of(&[2, 8, 8]),
        ..Limits::default()
    }
}

fn draw_network(rng: &mut Rng, boring: bool, election: Time) -> NetworkPlan {
    let mut rate = |most: u64| maybe(rng, boring, most);
    let loss = rate(200_000);
    let duplicate = rate(100_000);
    let late = rate(100_000);
    let archive = rate(50_000);
    NetworkPlan {
        delay: rng.scale(100, 4_000),
        loss,
        duplicate,
        late,
        late_delay: rng.scale(election / 8, election * 2),
        archive,
        ordered: rng.below(4) == 0,
    }
}

fn draw_host(rng: &mut Rng, boring: bool, election: Time) -> HostPlan {
    HostPlan {
        write: if boring { 500 } else { rng.scale(50, election / 4) },
        read: rng.scale(50, if boring { 500 } else { election * 2 }),
        apply: rng.one_of(&[0, 0, 100, 5_000]),
        turn: rng.one_of(&[0, 0, 10, 500]),
        drift: if boring { 1_000 } else { rng.scale(1_000, 400_000) },
        failed_writes: maybe(rng, boring, 2_000),
        failed_reads: maybe(rng, boring, 200_000),
        failed_applies: maybe(rng, boring, 5_000),
        durable_machine: rng.below(3) == 0,
    }
}

fn draw_faults(rng: &mut Rng, boring: bool, election: Time) -> FaultPlan {
    let mut weights = [0; FaultKind::ALL.len()];
    for weight in &mut weights {
        *weight = if rng.coin() { rng.between(1, 8) } else { 0 };
    }
    // A cluster whose disks are stalled does nothing that could go wrong, so stalls stay rare.
    weights[FaultKind::StallDisk as usize] = weights[FaultKind::StallDisk as usize].min(1);
    FaultPlan {
        interval: rng.scale(election, election * 32),
        duration: rng.scale(election / 4, election * 8),
        at_leader: rng.one_of(&[0, 300_000, 700_000, 900_000]),
        weights: if boring { [0; FaultKind::ALL.len()] } else { weights },
        crash_upon_vote: maybe(rng, boring, 100_000),
        fault_upon_election: maybe(rng, boring, 500_000),
    }
}

fn draw_clients(rng: &mut Rng, election: Time) -> ClientPlan {
    ClientPlan {
        count: rng.between(1, 10),
        think: rng.scale(200, 50_000),
        patience: rng.one_of(&[0, election / 2, election, election * 4]),
        reads: rng.one_of(&[100_000, 500_000, 800_000]),
        group: rng.one_of(&[1, 1, 3]),
        padding: rng.one_of(&[0, 0, 200]),
        at_leader: rng.one_of(&[0, 500_000, 900_000]),
    }
}

/// Draws from a stream of its own, so that the operator does not change what else a seed draws. A
/// boring seed has an operator, too, since its requests are no faults.
fn draw_operator(seed: u64, election: Time) -> OperatorPlan {
    let mut rng = Rng::stream(seed, "operator plan", 0);
    let is_idle = rng.coin();
    let interval = rng.scale(election, election * 32);
    let at_leader = rng.one_of(&[300_000, 700_000, 950_000]);
    let changes = rng.one_of(&[0, 500_000, 900_000]);
    let newcomers = rng.between(0, 2);
    let old_programs = if rng.below(4) == 0 { rng.draw() } else { 0 };
    let whole_changes = rng.one_of(&[0, 500_000, 900_000]);
    let change_ticks = rng.one_of(&[30, 300, 1000]);
    let plan = OperatorPlan {
        interval,
        at_leader,
        changes,
        newcomers: if changes > 0 { newcomers } else { 0 },
        old_programs,
        whole_changes,
        change_ticks,
    };
    if is_idle {
        return OperatorPlan { interval: 0, changes: 0, newcomers: 0, old_programs: 0, ..plan };
    }
    plan
}

/// Draws from a stream of its own, as for the operator. Limits are drawn so small that a log is
/// purged again and again, and that a file takes many chunks.
fn draw_snapshots(seed: u64, boring: bool, limits: Limits) -> (SnapshotPlan, Limits) {
    let mut rng = Rng::stream(seed, "snapshot plan", 0);
    let are_taken = rng.below(3) > 0;
    let limits = Limits {
        snapshot_entries: rng.one_of(&[1, 3, 20, 200]),
        snapshot_bytes: rng.one_of(&[1, 100, 1000, 64 << 20]),
        kept_entries: rng.one_of(&[0, 0, 1, 10, 100]),
        held_back_bytes: rng.one_of(&[0, 100, 1000, 1 << 30]),
        snapshot_chunk_bytes: rng.one_of(&[5, 20, 100, 1 << 20]),
        snapshot_bytes_per_second: rng.one_of(&[200, 10_000, 64 << 20]),
        snapshot_streams: rng.one_of(&[1, 2]),
        ..limits
    };
    let failed = maybe(&mut rng, boring, 200_000);
    (SnapshotPlan { are_taken, failed }, limits)
}

/// Draws from a stream of its own, as for the operator. Limits are drawn so small that sessions
/// expire, that a window is one request, and that answers are dropped.
fn draw_sessions(seed: u64, limits: Limits) -> (bool, Limits) {
    let mut rng = Rng::stream(seed, "session plan", 0);
    let uses_sessions = rng.below(3) > 0;
    let limits = Limits {
        sessions: rng.one_of(&[1, 3, 1024]),
        session_ticks: rng.one_of(&[20, 200, 60_000]),
        session_window: rng.one_of(&[1, 3, 256]),
        session_answer_bytes: rng.one_of(&[0, 8, 20, 64 << 10]),
        ..limits
    };
    (uses_sessions, limits)
}

/// Draws from a stream of its own. Where the members have leases, the bound on clock drift is that
/// of the clocks, or more; or the clocks differ far beyond the bound.
fn draw_leases(
    seed: u64,
    host: &mut HostPlan,
    boring: bool,
    config: Config,
) -> (LeasePlan, Config) {
    let mut rng = Rng::stream(seed, "lease plan", 0);
    let are_on = rng.below(3) > 0;
    let by_lease = rng.one_of(&[0, 300_000, 700_000, 950_000]);
    let (at_least, local) = (rng.one_of(&[0, 300_000]), rng.one_of(&[0, 300_000]));
    // A clock's tick is longer or shorter than usual by half of the drift at most.
    let within_bound = boring || !are_on || rng.below(4) > 0;
    if !within_bound {
        host.drift = 1_200_000;
    }
    let most = TICK * host.drift / 1_000_000;
    let (slowest, fastest) = (TICK + most - most / 2, TICK - most / 2);
    let differ = (slowest * 1000).div_ceil(fastest) - 1000;
    let bound = if within_bound { differ + rng.one_of(&[0, 0, 50, 300]) } else { 1 };
    let bound = bound.clamp(1, 1000) as u32;
    let with_leases = Config { lease_drift: Some(bound), ..config.clone() };
    let config = if are_on && with_leases.check().is_ok() { with_leases } else { config };
    (LeasePlan { within_bound, by_lease, at_least, local }, config)
}

/// Draws a rate up to `most`; the rate is zero in half of the seeds and in boring ones.
fn maybe(rng: &mut Rng, boring: bool, most: u64) -> u64 {
    let off = rng.coin();
    let rate = rng.scale(most / 100, most);
    if off || boring { 0 } else { rate.min(MILLION) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_passes_the_checks_of_its_settings() {
        for seed in 0..5_000 {
            let plan = Plan::draw(seed);
            assert_eq!(plan.config.check(), Ok(()), "seed {seed}");
            assert_eq!(plan.limits.check(), Ok(()), "seed {seed}");
            assert!(plan.members >= 1 && plan.clients.count >= 1);
        }
    }

    #[test]
    fn about_one_seed_in_sixteen_is_boring() {
        let boring = (0..1_000).filter(|seed| Plan::draw(*seed).boring).count();
        assert!((20..200).contains(&boring), "{boring} of 1000");
    }
}
