//! Runs one seed: first a storm, in which faults are injected, for a given number of inputs; then
//! calm, in which nothing fails; then the checks that need a cluster at rest.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::checks::convergence::{check_machines, why_not_at_rest};
use crate::checks::linearizable::check_all;
use crate::checks::order::Outcome;
use crate::checks::{Check, Violation, hold};
use crate::sim::marks::Marks;
use crate::sim::planted::Planted;
use crate::sim::world::World;
use crate::sim::{DiskFactory, Plan, TICK, Time};

/// The longest pause after a snapshot that could not be received, in ticks.
const LONGEST_PAUSE: u64 = 6000;

/// How long the transfer of a snapshot may take at the lowest rate that is drawn, in ticks.
const MOST_OF_A_TRANSFER: u64 = 500;

/// How a seed is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed. Together with the other fields it determines the whole run.
    pub seed: u64,
    /// The length of the storm, in inputs.
    pub inputs: u64,
    /// The planted bug to run with, if any.
    pub planted: Option<Planted>,
    /// Whether promises are compared with disks when they are made (the default). If `false`, only
    /// consequences that other members or clients can see are found.
    pub inspects_promises: bool,
    /// Whether each event is printed.
    pub prints_events: bool,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The settings of the run.
    pub settings: Settings,
    /// The number of inputs that the pumps were given, including those during calm.
    pub inputs: u64,
    /// The hash over all events.
    pub hash: u64,
    /// The simulated time that passed, in microseconds.
    pub time: Time,
    /// The number of operations that clients requested.
    pub operations: u64,
    /// The number of entries that were committed.
    pub committed: u64,
    /// How often each rare situation occurred.
    pub marks: Marks,
    /// The violation that was found, if any.
    pub found: Option<Found>,
}

/// A violation, and when it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The violation.
    pub violation: Violation,
    /// The number of inputs after which it was found.
    pub inputs: u64,
}

impl Settings {
    /// The settings of a run without planted bugs.
    pub fn new(seed: u64, inputs: u64) -> Settings {
        Settings { seed, inputs, planted: None, inspects_promises: true, prints_events: false }
    }
}

/// Runs a seed and reports the result. A panic of the code under test is a violation too.
pub fn run(settings: Settings, disks: &DiskFactory<'_>) -> Report {
    let Settings { seed, planted, inspects_promises, prints_events, .. } = settings;
    let plan = Plan::draw(seed);
    let made = World::new(plan, disks, planted, inspects_promises, prints_events);
    let mut world = match made {
        Ok(world) => world,
        Err(violation) => panic!("the cluster could not be started: {violation}"),
    };
    let result = catch_unwind(AssertUnwindSafe(|| run_world(&mut world, settings.inputs, disks)));
    let violation = match result {
        Ok(result) => result.err(),
        Err(panic) => Some(Violation::new(Check::OwnState, panic_text(&*panic))),
    };
    Report {
        settings,
        inputs: world.inputs,
        hash: world.journal.hash(),
        time: world.now(),
        operations: world.operations.len(),
        committed: world.laws.committed().get(),
        marks: world.marks.clone(),
        found: violation.map(|violation| Found { violation, inputs: world.inputs }),
    }
}

fn run_world(world: &mut World, inputs: u64, disks: &DiskFactory<'_>) -> Result<(), Violation> {
    while world.inputs < inputs {
        world.advance()?;
    }
    world.calm_down()?;
    wait_until_at_rest(world)?;
    serve_everywhere(world)?;
    hand_over(world)?;
    change_membership(world)?;
    wait_until_at_rest(world)?;
    check_machines(&world.views().unwrap_or_default())?;
    check_all(&0, world.operations.history()).map_err(|(key, verdict)| {
        Violation::new(Check::Linearizable, format!("register {key}: {verdict}"))
    })?;
    if world.plan.loses_disks {
        lose_disks(world, disks)?;
    }
    world.close()
}

/// Advances the world until all members follow one leader, all logs are equal, and no client waits.
/// It is a violation if that takes longer than [`rest_limit`].
fn wait_until_at_rest(world: &mut World) -> Result<(), Violation> {
    let deadline = world.now() + rest_limit(world);
    loop {
        for _ in 0..256 {
            world.advance()?;
        }
        let views = world.views().ok_or("a member is down");
        match views.map(|views| why_not_at_rest(&views).or(still_runs(world))) {
            Ok(None) => return Ok(()),
            still if world.now() > deadline => {
                let what = format!("the cluster did not come to rest in time: {still:?}");
                return Err(Violation::new(Check::Convergence, what));
            }
            _ => {}
        }
    }
}

fn still_runs(world: &World) -> Option<String> {
    world.removed_and_running().map(|node| format!("{node} was removed, and still runs"))
}

/// How long the cluster may take to come to rest: a hundred election timeouts, the clients' own
/// timeouts, the time that it takes to send each entry by itself, and, where files of snapshots
/// fail, the longest pause after a failure.
fn rest_limit(world: &World) -> Time {
    let plan = &world.plan;
    let clients =
        plan.limits.proposal_ticks + plan.limits.read_ticks + 3 * plan.limits.change_ticks;
    let ticks = 100 * u64::from(plan.config.election_ticks_max) + clients;
    let pause = if plan.snapshots.failed > 0 { LONGEST_PAUSE } else { 0 };
    let files = if plan.snapshots.are_taken { MOST_OF_A_TRANSFER } else { 0 };
    (ticks + pause + files + 2 * world.longest_log()) * TICK
}

/// A majority of the members lose their disks, which no protocol survives. One thing must still
/// hold: a member stops if it knows an entry to be committed that its leader does not have.
fn lose_disks(world: &mut World, disks: &DiskFactory<'_>) -> Result<(), Violation> {
    world.lose_disks(disks)?;
    let deadline = world.now() + rest_limit(world);
    while world.now() < deadline {
        world.advance()?;
    }
    world.check_histories()
}

/// In calm, each member accepts a write and a read, and answers both.
fn serve_everywhere(world: &mut World) -> Result<(), Violation> {
    for at in world.present_members() {
        for is_read in [false, true] {
            serve(world, at, is_read)?;
        }
    }
    Ok(())
}

/// In calm, a leader that is asked to hand over is followed by the member that was named.
fn hand_over(world: &mut World) -> Result<(), Violation> {
    wait_until_at_rest(world)?;
    let Some((from, to)) = world.transfer_at_rest() else { return Ok(()) };
    world.request_transfer(from, world.members[to].id)?;
    let deadline = world.now() + rest_limit(world);
    while !world.members[to].leads() && world.now() < deadline {
        world.advance()?;
    }
    hold(world.members[to].leads(), Check::Convergence, || {
        format!("in calm, member {} did not hand over", world.members[from].id)
    })
}

/// In calm, a change of the membership goes the whole way.
fn change_membership(world: &mut World) -> Result<(), Violation> {
    wait_until_at_rest(world)?;
    let Some((at, target)) = world.change_at_rest() else { return Ok(()) };
    let client = world.request_change(at, target)?;
    let deadline = world.now() + rest_limit(world);
    while world.change_answer(client).is_none() && world.now() < deadline {
        world.advance()?;
    }
    let answer = world.change_answer(client);
    hold(answer == Some(true), Check::Convergence, || {
        format!("in calm, a change of the membership ended as {answer:?}")
    })
}

/// Requests one operation from one member and waits for its answer. If the answer says that nothing
/// happened, because the leader's disk was behind, the operation is requested again. So it is if
/// the member installed a snapshot meanwhile, or is about to, which may include the command: where
/// a plan keeps no entries at all, a peer that is one entry behind gets a snapshot.
fn serve(world: &mut World, at: usize, is_read: bool) -> Result<(), Violation> {
    let client = world.plan.clients.count;
    let deadline = world.now() + rest_limit(world);
    loop {
        let installed = world.installs(at);
        world.send_request_to(at, client, is_read, 1)?;
        let number = world.operations.len();
        while world.operations.outcome(number) == Outcome::Open && world.now() < deadline {
            world.advance()?;
        }
        match world.operations.outcome(number) {
            Outcome::Done(..) => return Ok(()),
            Outcome::Failed if world.now() < deadline => world.advance()?,
            Outcome::Unknown if world.installs(at) > installed || world.needs_snapshot(at) => {}
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
