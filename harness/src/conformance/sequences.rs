//! Random sequences of steps: drawn, tried, and shortened where they break a promise.
//!
//! `KONTIKI_CASES` sets how many sequences are tried, and `KONTIKI_SEED` sets which ones. Without
//! `KONTIKI_CASES`, `KONTIKI_DEEP` raises their number. `KONTIKI_SEEDS` runs that many seeds. The
//! seed is fixed by default, so that a test that passed does not fail later without a change.

use std::ops::Range;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use raft_core::storage::{Durability, WriteBatch};

use super::drafts::{Draft, draft};
use super::report::{Broken, Checked, Halt};
use super::samples::{hard_state, id, identity, index, sized};
use super::settings::{is_deep, seeds, setting};
use super::subject::{Ending, Subject};

const CASES: u64 = 40;
const DEEP_CASES: u64 = 4000;
const STEPS: Range<usize> = 1..30;
const SEED: u64 = 1947;

/// How many attempts are made to find a shorter sequence.
const SHRINKING: usize = 200;

/// One step, as numbers that are relative to the model: how far from its end, how much above its
/// term. So a step stays sound when the steps before it are left out.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A batch that fits the log.
    Sound(Draft),
    /// A batch that usually does not fit the log.
    Wild {
        draft: Draft,
        first: u64,
        term: u64,
        purge: Option<(u64, u64)>,
        vote: (u64, u64),
    },
    Identity(u64),
    Read {
        from: u64,
        length: u64,
        max_bytes: u64,
    },
    ReadBackwards {
        from: u64,
        length: u64,
    },
    Term(u64),
    Reopen {
        closed: bool,
    },
}

/// Tries sequence after sequence, each on a new store. The first that breaks a promise is
/// shortened; the last run is that of the shortest sequence.
pub(crate) async fn try_many(mut run: impl AsyncFnMut(&[Step]) -> Checked) -> Checked {
    for seed in seeds(SEED) {
        try_seed(seed, &mut run).await?;
    }
    Ok(())
}

async fn try_seed(seed: u64, run: &mut impl AsyncFnMut(&[Step]) -> Checked) -> Checked {
    let deep = if is_deep() { DEEP_CASES } else { CASES };
    let cases = setting("KONTIKI_CASES").unwrap_or(deep);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = prop::collection::vec(step(), STEPS);
    for case in 1..=cases {
        let sequence = strategy.new_tree(&mut runner).expect("the strategy filters nothing");
        if let Err(Halt::Broken(broken)) = run(&sequence.current()).await {
            let mut broken = shrink(run, sequence).await.unwrap_or(broken);
            let cause = format!(" (case {case} of KONTIKI_SEED={seed}, shrunk)");
            broken.what.push_str(&cause);
            return Err(Halt::Broken(broken));
        }
    }
    Ok(())
}

/// Looks for a shorter sequence that breaks a promise; returns what it breaks. `None` if the same
/// sequence does not fail again.
async fn shrink(
    run: &mut impl AsyncFnMut(&[Step]) -> Checked,
    mut sequence: impl ValueTree<Value = Vec<Step>>,
) -> Option<Broken> {
    for _ in 0..SHRINKING {
        if !sequence.simplify() {
            break;
        }
        if run(&sequence.current()).await.is_ok() && !sequence.complicate() {
            break;
        }
    }
    // The last attempt may not have broken a promise.
    loop {
        match run(&sequence.current()).await {
            Err(Halt::Broken(broken)) => return Some(broken),
            _ if !sequence.complicate() => return None,
            _ => {}
        }
    }
}

/// Makes a step on a store; `mark` goes into the payloads.
pub(crate) async fn run_step(log: &mut Subject, step: &Step, mark: u64) -> Checked {
    let (boundary, last) = (log.model.boundary.index.get(), log.model.last().index.get());
    match step {
        Step::Sound(draft) => {
            let draft = draft.for_store(log.lacks());
            let batch = draft.batch_for(&log.model.outline(), mark);
            log.change(batch).await
        }
        Step::Wild { draft, first, term, purge, vote } => {
            let sizes = draft.sizes.iter();
            let append = (boundary + first..).zip(sizes).map(|(at, size)| sized(at, *term, *size));
            let batch = WriteBatch {
                hard_state: draft.vote.map(|_| hard_state(vote.0, vote.1)),
                reset: None,
                // Whether a truncation of committed entries is refused depends on what a store has
                // forgotten; a separate check covers that.
                truncate_after: draft.truncate.map(|cut| {
                    let cut = index((boundary + cut).saturating_sub(2));
                    if cut < log.model.boundary.index { cut } else { cut.max(log.model.committed) }
                }),
                append: append.collect(),
                purge_upto: purge.map(|(at, term)| id((boundary + at).saturating_sub(4), term)),
                commit_hint: None,
            };
            log.change(batch).await
        }
        Step::Identity(store) => log.save_identity(identity(*store)).await,
        Step::Read { from, length, max_bytes } => {
            // An empty range outside of the log is not checked.
            let from = (boundary + from).saturating_sub(3);
            let length = if from <= boundary || from > last { length + 1 } else { *length };
            log.read(from, from + length, *max_bytes).await.map(|_| ())
        }
        Step::ReadBackwards { from, length } => {
            let from = (boundary + 1 + from).min(last).max(1);
            log.read(from, from.saturating_sub(length + 1), 9).await.map(|_| ())
        }
        Step::Term(at) => log.term((boundary + at).saturating_sub(3)).await,
        Step::Reopen { .. } if log.info().durability == Durability::Volatile => Ok(()),
        Step::Reopen { closed: true } => log.reopen(Ending::Closed).await,
        Step::Reopen { closed: false } => log.reopen(Ending::Dropped).await,
    }
}

fn step() -> impl Strategy<Value = Step> {
    let pair = || (0..20u64, 0..6u64);
    prop_oneof![
        8 => draft().prop_map(Step::Sound),
        3 => (draft(), 0..20u64, 0..6u64, prop::option::of(pair()), (0..6u64, 0..3u64)).prop_map(
            |(draft, first, term, purge, vote)| Step::Wild { draft, first, term, purge, vote }
        ),
        1 => (0..2u64).prop_map(Step::Identity),
        3 => (0..20u64, 0..9u64, 0..2000u64)
            .prop_map(|(from, length, max_bytes)| Step::Read { from, length, max_bytes }),
        1 => (0..9u64, 0..4u64).prop_map(|(from, length)| Step::ReadBackwards { from, length }),
        1 => (0..20u64).prop_map(Step::Term),
        2 => any::<bool>().prop_map(|closed| Step::Reopen { closed }),
    ]
}
