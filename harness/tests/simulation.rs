//! The simulator, with few enough inputs for a debug build: it finds nothing where no bug is
//! planted, it finds the planted bugs, and two runs of a seed are equal.
//!
//! The example program makes the large runs:
//! `cargo run --release -p kontiki-harness --example sim -- --help`.

#[path = "../examples/sim/disks.rs"]
mod disks;

use harness::sim::{Mark, Marks, Planted, Report, Rng, Settings, StoreBug, run};

/// Runs one seed on one kind of store.
fn run_seed(store: &str, settings: Settings) -> Report {
    let disks = |member, rng: Rng| disks::blank(store, member, rng).expect("a store");
    run(settings, &disks)
}

#[test]
fn no_violation_is_found_without_a_planted_bug() {
    let mut marks = Marks::default();
    for (seed, store) in (1..=60).zip(disks::STORES.iter().cycle()) {
        let report = run_seed(store, Settings::new(seed, 4_000));
        assert_eq!(report.found, None, "seed {seed} on {store}");
        assert!(report.operations > 0, "seed {seed} on {store} did nothing");
        marks.add(&report.marks);
    }
    let frequent = [
        Mark::CrashBeforeEntriesDurable,
        Mark::UnsyncedWriteLost,
        Mark::UnreportedWriteSurvived,
        Mark::SplitVote,
        Mark::OldTermDelivered,
        Mark::ArchiveDelivered,
        Mark::ForwardAnswered,
        Mark::FollowerRead,
        Mark::ColdFetch,
        Mark::TransferSucceeded,
    ];
    for mark in frequent {
        assert!(marks.count(mark) > 0, "{mark:?} never happened:\n{marks}");
    }
}

#[test]
fn two_runs_of_a_seed_are_equal() {
    for store in disks::STORES {
        let [first, second] = [(); 2].map(|()| run_seed(store, Settings::new(7, 3_000)));
        assert_eq!(first.hash, second.hash, "on {store}");
        assert_eq!((first.inputs, &first.marks), (second.inputs, &second.marks), "on {store}");
        let other = run_seed(store, Settings::new(8, 3_000));
        assert_ne!(first.hash, other.hash, "on {store}");
    }
}

#[test]
fn a_violation_is_found_again_at_the_same_input() {
    let mut settings = Settings::new(1, 4_000);
    settings.planted = Some(Planted::Store(StoreBug::DurableReportedBeforeSync));
    let [first, second] = [(); 2].map(|()| run_seed("memory", settings.clone()).found);
    assert!(first.is_some());
    assert_eq!(first, second);
}

#[test]
fn planted_bugs_of_the_store_driver_are_found() {
    for bug in StoreBug::ALL {
        search(Planted::Store(bug), 60);
    }
}

/// The other planted bugs need more inputs than a debug build has time for; the example program
/// searches for them.
#[cfg(feature = "mutants")]
#[test]
fn planted_bugs_that_break_promises_are_found() {
    use raft_core::consensus::Mutant;
    use raft_node::pump::PumpBug;
    let quick = [
        Planted::Core(Mutant::VoteBeforeDurable),
        Planted::Core(Mutant::CandidateAsksBeforeDurable),
        Planted::Core(Mutant::AckBeforeSync),
        Planted::Core(Mutant::HeartbeatReportsVerified),
        Planted::Core(Mutant::LeaderCountsBeforeSync),
        Planted::Core(Mutant::VoteForgottenOnStepDown),
        Planted::Core(Mutant::AppliedBeforeDurable),
        Planted::Pump(PumpBug::ReadServedBeforeApplied),
        Planted::Pump(PumpBug::UnansweredForwardFailed),
    ];
    quick.into_iter().for_each(|bug| search(bug, 20));
}

fn search(bug: Planted, seeds: u64) {
    let found = (1..=seeds).find_map(|seed| {
        let mut settings = Settings::new(seed, 10_000);
        settings.planted = Some(bug);
        run_seed("memory", settings).found
    });
    let found = found.unwrap_or_else(|| panic!("{bug} was not found in {seeds} seeds"));
    println!("{bug}: {} ({} inputs)", found.violation, found.inputs);
}
