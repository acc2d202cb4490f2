//! One seed, from start to end: a number of inputs with faults, then a calm phase, then the checks
//! that need an idle cluster.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::checks::convergence::{check_machines, unsettled};
use crate::checks::linearizable::check_all;
use crate::checks::order::Outcome;
use crate::checks::{Check, Violation};
use crate::sim::marks::Marks;
use crate::sim::planted::Planted;
use crate::sim::world::World;
use crate::sim::{DiskFactory, Plan, TICK, Time};

/// How a seed is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed; with the other fields it decides everything.
    pub seed: u64,
    /// How many inputs are stepped with faults.
    pub inputs: u64,
    /// A bug to run with.
    pub planted: Option<Planted>,
    /// Whether promises are compared with disks when they are made (the default). Without it only
    /// harm that others can see is found.
    pub inspects_promises: bool,
    /// Whether every event is printed.
    pub aloud: bool,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its settings.
    pub settings: Settings,
    /// Inputs stepped, the calm phase included.
    pub inputs: u64,
    /// The hash over everything that happened.
    pub hash: u64,
    /// Simulated time, in microseconds.
    pub time: Time,
    /// The operations that clients requested.
    pub operations: u64,
    /// The entries that were committed.
    pub committed: u64,
    /// How often each rare thing happened.
    pub marks: Marks,
    /// What was found, if anything.
    pub found: Option<Found>,
}

/// A violation, and when it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The violation.
    pub violation: Violation,
    /// After how many inputs.
    pub inputs: u64,
}

impl Settings {
    /// A run without planted bugs.
    pub fn new(seed: u64, inputs: u64) -> Settings {
        Settings { seed, inputs, planted: None, inspects_promises: true, aloud: false }
    }
}

/// Runs a seed. A panic of the code under test is a violation, too.
pub fn run(settings: Settings, disks: &DiskFactory<'_>) -> Report {
    let Settings { seed, planted, inspects_promises, aloud, .. } = settings;
    let plan = Plan::draw(seed);
    let made = World::new(plan, disks, planted, inspects_promises, aloud);
    let mut world = match made {
        Ok(world) => world,
        Err(violation) => panic!("no cluster could be started: {violation}"),
    };
    let result = catch_unwind(AssertUnwindSafe(|| live(&mut world, settings.inputs, disks)));
    let violation = match result {
        Ok(result) => result.err(),
        Err(panic) => Some(Violation::new(Check::OwnState, panic_text(&*panic))),
    };
    Report {
        settings,
        inputs: world.inputs,
        hash: world.journal.hash(),
        time: world.now(),
        operations: world.orders.len(),
        committed: world.laws.committed().get(),
        marks: world.marks.clone(),
        found: violation.map(|violation| Found { violation, inputs: world.inputs }),
    }
}

fn live(world: &mut World, inputs: u64, disks: &DiskFactory<'_>) -> Result<(), Violation> {
    while world.inputs < inputs {
        world.advance()?;
    }
    world.calm_down()?;
    come_to_rest(world)?;
    serve_everywhere(world)?;
    come_to_rest(world)?;
    check_machines(&world.views().unwrap_or_default())?;
    check_all(&0, world.orders.history()).map_err(|(key, verdict)| {
        Violation::new(Check::Linearizable, format!("register {key}: {verdict}"))
    })?;
    if world.plan.loses_memory {
        lose_memory(world, disks)?;
    }
    world.close()
}

/// Within a bounded time all members follow one leader, all logs are equal, and no client waits.
fn come_to_rest(world: &mut World) -> Result<(), Violation> {
    let deadline = world.now() + patience(world);
    loop {
        for _ in 0..256 {
            world.advance()?;
        }
        let views = world.views().ok_or("a member is down");
        match views.map(|views| unsettled(&views)) {
            Ok(None) => return Ok(()),
            still if world.now() > deadline => {
                let what = format!("the cluster is not idle in time: {still:?}");
                return Err(Violation::new(Check::Convergence, what));
            }
            _ => {}
        }
    }
}

/// How long to wait: a hundred election timeouts, the clients' own timeouts, and time to send every
/// entry alone.
fn patience(world: &World) -> Time {
    let plan = &world.plan;
    let clients = plan.limits.proposal_ticks + plan.limits.read_ticks;
    let ticks = 100 * u64::from(plan.config.election_ticks_max) + clients;
    (ticks + 2 * world.longest_log()) * TICK
}

/// A majority of the members lose their disks, which no protocol survives. It must hold that no
/// member continues if it knows an entry to be committed that its leader does not have.
fn lose_memory(world: &mut World, disks: &DiskFactory<'_>) -> Result<(), Violation> {
    world.lose_memory(disks)?;
    let deadline = world.now() + patience(world);
    while world.now() < deadline {
        world.advance()?;
    }
    world.check_histories()
}

/// In the calm phase every member accepts a write and a read, and answers both.
fn serve_everywhere(world: &mut World) -> Result<(), Violation> {
    for at in 0..world.plan.members as usize {
        for is_read in [false, true] {
            serve(world, at, is_read)?;
        }
    }
    Ok(())
}

/// One operation at one member. If nothing happened, because the leader's disk was behind, it is
/// requested again.
fn serve(world: &mut World, at: usize, is_read: bool) -> Result<(), Violation> {
    let client = world.plan.clients.count;
    let deadline = world.now() + patience(world);
    loop {
        world.ask_at(at, client, is_read, 1)?;
        let number = world.orders.len();
        while world.orders.outcome(number) == Outcome::Open && world.now() < deadline {
            world.advance()?;
        }
        match world.orders.outcome(number) {
            Outcome::Done(..) => return Ok(()),
            Outcome::Failed if world.now() < deadline => world.advance()?,
            outcome => {
                let what = format!("in calm, operation {number} ended as {outcome:?}");
                return Err(Violation::new(Check::Convergence, what));
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let owned = panic.downcast_ref::<String>().cloned();
    let fixed = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    owned.or(fixed).unwrap_or_else(|| "a panic without a message".to_owned())
}
