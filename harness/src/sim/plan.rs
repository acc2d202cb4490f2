//! What a seed draws: how many members, which limits, which faults and how often.
//!
//! Swarm testing: each fault is left out of about half of the seeds, since faults can hide each
//! other, and rates are drawn by their scale, so that rare and frequent are equally likely. One
//! seed in sixteen is *boring*: nothing fails, and everything must simply work.

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
    /// How many members there are.
    pub members: u64,
    /// Whether nothing fails.
    pub boring: bool,
    /// The protocol's settings; id and seed are each member's own.
    pub config: Config,
    /// The pump's limits.
    pub limits: Limits,
    /// The network.
    pub network: NetworkPlan,
    /// Disks, state machines and processors.
    pub host: HostPlan,
    /// Faults of members.
    pub faults: FaultPlan,
    /// The clients.
    pub clients: ClientPlan,
    /// Whether, at the end, a majority of the members lose their disks.
    pub loses_memory: bool,
}

/// How the network behaves. Rates are out of a million messages.
#[derive(Clone, Debug)]
pub struct NetworkPlan {
    /// Typical delay.
    pub delay: Time,
    /// Messages that vanish.
    pub loss: u64,
    /// Messages that arrive twice.
    pub duplicate: u64,
    /// Messages that take long, with a heavy tail.
    pub late: u64,
    /// How long those typically take.
    pub late_delay: Time,
    /// Sends upon which an old message arrives again.
    pub archive: u64,
    /// Whether messages of one member to another keep their order, as on one connection.
    pub ordered: bool,
}

/// How the hosts of the members behave.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// How long a write typically takes.
    pub write: Time,
    /// How long a read of entries typically takes.
    pub read: Time,
    /// How long applying a batch takes; with zero it is done between two turns.
    pub apply: Time,
    /// How long a turn of the pump takes; what arrives in the meantime waits for the next turn.
    pub turn: Time,
    /// By how much clocks may run wrong, out of a million.
    pub drift: u64,
    /// Writes that fail, out of a million.
    pub failed_writes: u64,
    /// Reads of entries that fail, out of a million.
    pub failed_reads: u64,
    /// Batches that the state machine fails to apply, out of a million; its member stops.
    pub failed_applies: u64,
    /// Whether the state machine's state survives crashes.
    pub durable_machine: bool,
}

/// How often faults hit members, and which. The weights say how likely each fault is.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    /// Typical time between two faults.
    pub interval: Time,
    /// Typical time until a link, disk or member works again.
    pub duration: Time,
    /// Faults that hit the leader, out of a million; the others hit a random member.
    pub at_leader: u64,
    /// Which faults, with weights.
    pub weights: [u64; FaultKind::ALL.len()],
    /// Out of a million granted votes, those upon which the voter crashes and comes back at once.
    pub crash_upon_vote: u64,
    /// Out of a million elections, those upon which the new leader is cut off or crashes.
    pub fault_upon_election: u64,
}

/// The faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// One member is isolated.
    Isolate,
    /// The messages of one member arrive and none reach it, or the reverse.
    OneWay,
    /// The members are split into two parts.
    Split,
    /// The members are split into two parts, and one member reaches both.
    Bridge,
    /// One member stops at once; what it had not synced may be lost.
    Crash,
    /// All members stop at once.
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
    /// How many there are.
    pub count: u64,
    /// Typical time between an answer and the next request.
    pub think: Time,
    /// Typical time after which a client without an answer makes another request; zero means never.
    pub patience: Time,
    /// Requests that read, out of a million.
    pub reads: u64,
    /// The most commands proposed together.
    pub group: u64,
    /// The most bytes added to a command.
    pub padding: u64,
    /// Requests that go to a member that believes it leads, out of a million.
    pub at_leader: u64,
}

impl Plan {
    /// What this seed draws.
    pub fn draw(seed: u64) -> Plan {
        let mut rng = Rng::stream(seed, "plan", 0);
        let boring = rng.below(16) == 0;
        let config = draw_config(&mut rng);
        let election = Time::from(config.election_ticks_max) * TICK;
        Plan {
            seed,
            members: rng.one_of(&[3, 3, 3, 3, 3, 3, 5, 5, 5, 4, 4, 2, 1]),
            boring,
            limits: draw_limits(&mut rng),
            network: draw_network(&mut rng, boring, election),
            host: draw_host(&mut rng, boring, election),
            faults: draw_faults(&mut rng, boring, election),
            clients: draw_clients(&mut rng, election),
            loses_memory: rng.below(4) == 0,
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
    // A cluster whose disks are stalled does nothing that could go wrong.
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

/// A rate up to `most`, or zero in half of the seeds and in boring ones.
fn maybe(rng: &mut Rng, boring: bool, most: u64) -> u64 {
    let off = rng.coin();
    let rate = rng.scale(most / 100, most);
    if off || boring { 0 } else { rate.min(MILLION) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_can_work() {
        for seed in 0..5_000 {
            let plan = Plan::draw(seed);
            assert_eq!(plan.config.check(), Ok(()), "seed {seed}");
            assert_eq!(plan.limits.check(), Ok(()), "seed {seed}");
            assert!(plan.members >= 1 && plan.clients.count >= 1);
        }
    }

    #[test]
    fn some_seeds_are_boring() {
        let boring = (0..1_000).filter(|seed| Plan::draw(*seed).boring).count();
        assert!((20..200).contains(&boring), "{boring} of 1000");
    }
}
