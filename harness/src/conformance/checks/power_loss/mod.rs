//! What a store holds after the power is cut, or the process is killed, at any moment.
//!
//! Each check lets the store work on a disk that records every operation ([`crash_disk`]), with
//! requests that stores often get wrong. Then the power is cut at many moments of that record:
//! before and after syncs, right after each answer, and at random moments. A possible state of the
//! disk after each cut is written into a directory, which the same `open` opens. The store must
//! show what was acknowledged, or the request that was under way, and nothing else (P1, P3, P4, P7,
//! P8), and it must continue to work. In addition:
//!
//! - some of these states are opened on such a recording disk, where the store works a little until
//!   the power is cut again, even during the opening; this nests twice;
//! - at some moments the process is killed instead, so that everything it wrote is visible; the
//!   store is opened, and the power is cut before a write. What was visible must still be there
//!   (P2);
//! - some direct writes of a store that never blocks arrive after the process that requested them
//!   has ended and the next one has continued.
//!
//! For a store that does not declare that it survives a power cut, only the process is killed. A
//! store whose files cannot be moved to another disk (it has none, or a part is elsewhere) is not
//! tested; if it has files and declares that it survives a power cut, the check counts as skipped.
//! A store that does not open in an empty directory fails.
//!
//! `KONTIKI_IMAGES` sets how many moments each check tries each way. By default these are as many
//! as fit into five seconds, from 6 to 40; `KONTIKI_DEEP` raises that number. `KONTIKI_SEED` sets
//! which moments are tried, and `KONTIKI_SEEDS` runs the random batches with that many seeds.
//! `KONTIKI_STRICT_NAMES=1` demands that the directory of each new file is synced, even that of the
//! files that create the store.
//!
//! | module | |
//! |---|---|
//! | `recording` | records what the store does, and what may be found after each moment |
//! | `cuts` | chooses the moments, and checks what is left after each cut |
//! | `held` | holds syncs at the disk |
//! | `late` | writes that arrive after their process has ended |
//! | `real` | cuts the power of a real file system |
//! | `verdict` | decides whether a state is legal, and which promise it breaks if not |

use std::env;
use std::time::Duration;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use raft_core::storage::{Durability, WriteBatch};
use raft_core::types::Entry;

use crate::conformance::drafts::draft;
use crate::conformance::model::Model;
use crate::conformance::place::Lacks;
use crate::conformance::report::{Checked, Halt};
use crate::conformance::samples::{
    entries, entry, hard_state, id, identity, index, membership, sized,
};
use crate::conformance::settings::{affordable, is_deep, seeds, setting};
use crate::conformance::subject::{Ending, Subject};
use crate::rng::Rng;
use crash_disk::History;

mod cuts;
mod held;
mod late;
mod real;
mod recording;
mod verdict;

use cuts::{CutOptions, CutRun, check_movable};
use real::RealCutRun;
use recording::{Beginning, Step, Workload};

/// The number of moments that each check tries, each way.
const IMAGES: u64 = 40;
const DEEP_IMAGES: u64 = 500;

/// The fewest moments, for a store that opens slowly; and how often the store is opened for each of
/// them, including the recoveries that are cut again.
const FEWEST_IMAGES: u64 = 6;
const OPENINGS: u32 = 7;
const SEED: u64 = 1947;

/// The note for a store whose files only ever grew.
const NEVER_TURNED_OVER: &str = "nothing was rotated, flushed or checkpointed while the power was \
    cut: no file was created, renamed, removed or written again where it had been written before. \
    Give the suite a configuration with small files, as docs/write-a-backend.md shows";

/// The number of random scripts of a check, and their length.
const SCRIPTS: u64 = 4;
const SCRIPT_STEPS: usize = 14;

/// Acknowledged entries of all sizes are there, with all their bytes.
pub async fn entries_survive(log: &mut Subject) -> Checked {
    let mut steps = vec![append(entries(1..=1, 1)), append(entries(2..=6, 1))];
    steps.push(append(vec![sized(7, 2, 0), sized(8, 2, 1), sized(9, 2, 20_000)]));
    steps.extend((10..=17).map(|at| append(vec![sized(at, 3, 700)])));
    steps.push(append(vec![membership(18, 4, 3), entry(19, 4)]));
    survive(log, steps).await
}

/// A saved vote is never lost, whether it is written alone or with entries.
pub async fn votes_survive(log: &mut Subject) -> Checked {
    let mut steps = vec![save(1, 0), save(1, 2), save(2, 3), append(entries(1..=3, 2))];
    for term in 3..=7 {
        steps.push(save(term, 0));
        steps.push(save(term, 1 + term % 3));
    }
    let state = Some(hard_state(9, 1));
    steps.push(write(WriteBatch { hard_state: state, ..appending(entries(4..=5, 9)) }));
    steps.push(save(12, 2));
    survive(log, steps).await
}

/// A truncated suffix never comes back, and the entries written in its place are there.
pub async fn rewritten_entries_survive(log: &mut Subject) -> Checked {
    let long: Vec<Entry> = (1..=20).map(|at| sized(at, 1, 300)).collect();
    let mut steps = vec![append(long), truncate(12), append(entries(13..=14, 2)), truncate(13)];
    for term in 3..=6 {
        let rewritten = vec![sized(14, term, 100 + 40 * term as usize)];
        let batch = WriteBatch { truncate_after: Some(index(13)), ..appending(rewritten) };
        steps.push(write(batch));
    }
    steps.extend([truncate(5), truncate(0), append(entries(1..=3, 7))]);
    survive(log, steps).await
}

/// Purged entries never come back, and the boundary is known, even if no entry is left.
pub async fn a_purge_survives(log: &mut Subject) -> Checked {
    let mut steps = Vec::new();
    for round in 0..4 {
        let first = round * 12 + 1;
        steps.push(append((first..first + 12).map(|at| sized(at, round, 600)).collect()));
        steps.push(purge(first + 4, round));
        steps.push(purge(first + 9, round));
    }
    steps.extend([purge(48, 3), append(entries(49..=52, 4))]);
    survive(log, steps).await
}

/// A reset replaces the log by a boundary in one atomic step.
pub async fn a_reset_survives(log: &mut Subject) -> Checked {
    log.must_have_resets()?;
    let reset = |at, term| WriteBatch { reset: Some(id(at, term)), ..WriteBatch::default() };
    let steps = vec![
        append((1..=9).map(|at| sized(at, 2, 500)).collect()),
        save(3, 1),
        write(reset(5, 3)),
        append(entries(6..=8, 3)),
        write(WriteBatch { append: entries(71..=73, 4), ..reset(70, 4) }),
        write(WriteBatch { hard_state: Some(hard_state(5, 2)), ..reset(40, 4) }),
        append(entries(41..=42, 5)),
        write(reset(90, 5)),
    ];
    survive(log, steps).await
}

/// The identity is saved first, and is never lost.
pub async fn the_identity_survives(log: &mut Subject) -> Checked {
    log.must_keep_its_identity()?;
    let first =
        WriteBatch { hard_state: Some(hard_state(1, 0)), ..appending(vec![membership(1, 0, 3)]) };
    let steps = vec![
        Step::Identity(identity(7)),
        write(first),
        save(1, 1),
        append(entries(2..=4, 1)),
        truncate(2),
        purge(2, 1),
    ];
    survive(log, steps).await
}

/// A batch with every verb is there as a whole, or, for a store without atomic batches, the first
/// of its verbs are.
pub async fn a_batch_survives(log: &mut Subject) -> Checked {
    let mut steps = vec![append((1..=10).map(|at| sized(at, 1, 400)).collect())];
    for round in 1..=6 {
        let (last, term) = (round * 4 + 6, round + 1);
        steps.push(write(WriteBatch {
            hard_state: Some(hard_state(term, round % 3 + 1)),
            truncate_after: Some(index(last - 2)),
            append: (last - 1..=last + 4).map(|at| sized(at, term, 350)).collect(),
            purge_upto: Some(match round {
                1 => id(3, 1),
                _ => id(last - 5, round),
            }),
            commit_hint: Some(index(last - 3)),
            ..WriteBatch::default()
        }));
        // A hint alone may be lost, but nothing else.
        steps.push(write(WriteBatch {
            commit_hint: Some(index(last - 2)),
            ..WriteBatch::default()
        }));
    }
    survive(log, steps).await
}

/// A batch of hundreds of entries, or of a megabyte, is still one batch; a payload that is larger
/// than any page is as durable as a small one.
pub async fn a_large_batch_survives(log: &mut Subject) -> Checked {
    let reset = Some(id(900, 3)).filter(|_| !log.lacks().reset);
    let first = if reset.is_some() { 901 } else { 411 };
    let last = first + 399;
    let large = |from: u64, term| (from..from + 400).map(|at| sized(at, term, 40)).collect();
    let state = |term| Some(hard_state(term, 1));
    let steps = vec![
        write(WriteBatch { hard_state: state(1), ..appending(large(1, 1)) }),
        write(WriteBatch {
            hard_state: state(2),
            truncate_after: Some(index(10)),
            purge_upto: Some(id(4, 1)),
            ..appending(large(11, 2))
        }),
        write(WriteBatch { hard_state: state(3), reset, ..appending(large(first, 3)) }),
        append((last + 1..=last + 20).map(|at| sized(at, 3, 50_000)).collect()),
        append(vec![sized(last + 21, 3, 300_000), sized(last + 22, 3, 9)]),
    ];
    survive(log, steps).await
}

/// A store that was closed and opened again holds what it held, and continues to work.
pub async fn a_closed_store_survives(log: &mut Subject) -> Checked {
    survive(log, reopened(Ending::Closed)).await
}

/// A handle that is dropped without `close` leaves a tail that may not be durable; the next opening
/// makes it durable.
pub async fn a_dropped_store_survives(log: &mut Subject) -> Checked {
    survive(log, reopened(Ending::Dropped)).await
}

/// A partial write is not taken for an entry, wherever it is torn.
pub async fn a_torn_write_is_not_an_entry(log: &mut Subject) -> Checked {
    let sizes = [1500, 5000, 600, 9000, 2100, 30_000, 700, 3300, 1100, 14_000];
    let steps = (1..).zip(sizes).map(|(at, size)| append(vec![sized(at, 1, size)]));
    survive(log, steps.collect()).await
}

/// A log grows through many files and is purged as it grows, by one process after another.
pub async fn a_long_running_log_survives(log: &mut Subject) -> Checked {
    let mut steps = Vec::new();
    if !log.lacks().identity {
        steps.push(Step::Identity(identity(5)));
    }
    for round in 0..24 {
        if round % 8 == 7 {
            steps.push(Step::Reopen(if round == 7 { Ending::Closed } else { Ending::Dropped }));
        }
        let first = round * 6 + 1;
        steps.push(append((first..first + 6).map(|at| sized(at, 1 + round / 5, 2300)).collect()));
        if round % 4 == 3 {
            steps.push(save(round + 2, round % 3 + 1));
        }
        if round % 5 == 4 {
            steps.push(purge(first - 9, 1 + (first - 10) / 6 / 5));
            steps.push(truncate(first + 3));
            steps.push(append(
                (first + 4..first + 6).map(|at| sized(at, 2 + round / 5, 90)).collect(),
            ));
        }
    }
    survive(log, steps).await?;
    let tally = log.journal().tally().clone();
    if log.info().durability == Durability::PowerLoss && !tally.has_turned_over() {
        return Err(Halt::Thin(NEVER_TURNED_OVER));
    }
    Ok(())
}

/// Random batches survive.
pub async fn random_batches_survive(log: &mut Subject) -> Checked {
    for seed in seeds(SEED) {
        for script in 0..SCRIPTS {
            let steps = Drafts::new(seed + script, log.lacks()).script(SCRIPT_STEPS);
            try_script(log, seed, steps, SCRIPTS).await?;
        }
    }
    Ok(())
}

/// A request is durable when it is answered, and not only soon after: its answer waits for its
/// sync, whichever thread runs the sync. Syncs are held at the disk, and no request may be answered
/// until they are released.
pub async fn an_answer_waits_for_its_sync(log: &mut Subject) -> Checked {
    if log.info().durability != Durability::PowerLoss {
        return Err(Halt::DoesNotApply("the store does not declare that it survives a power cut"));
    }
    check_movable(log.new_place(), log.info().durability).await?;
    held::check(log).await
}

/// The kernel cuts the power of a real file system: a test that is independent of the simulated
/// disk. `KONTIKI_CUTS` sets the number of cuts.
pub async fn a_real_power_cut_loses_nothing(log: &mut Subject) -> Checked {
    if log.info().durability != Durability::PowerLoss {
        return Err(Halt::DoesNotApply("the store does not declare that it survives a power cut"));
    }
    let (way, atomic, journal) = (log.way(), log.info().atomic_batch, log.journal().clone());
    let mut place = log.new_place();
    let place = place.as_mut();
    check_movable(log.new_place(), log.info().durability).await?;
    RealCutRun { place, way, atomic, journal: &journal, seed: seed() }.watch().await
}

/// Random batches that fit a log, one after another.
struct Drafts {
    runner: TestRunner,
    count: u64,
    lacks: Lacks,
}

impl Drafts {
    fn new(seed: u64, lacks: Lacks) -> Drafts {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let runner = TestRunner::new_with_rng(Config::default(), rng);
        Drafts { runner, count: 0, lacks }
    }

    fn next(&mut self, model: &Model) -> WriteBatch {
        loop {
            let drawn = draft().new_tree(&mut self.runner).expect("the strategy filters nothing");
            self.count += 1;
            let draft = drawn.current().for_store(self.lacks);
            let batch = draft.batch_for(&model.outline(), self.count);
            if !batch.is_empty() {
                return batch;
            }
        }
    }

    fn script(&mut self, length: usize) -> Vec<Step> {
        let mut model = Model::default();
        let mut step = || {
            let batch = self.next(&model);
            let mut course = model.course(&batch);
            model = course.states.pop().expect("never empty");
            write(batch)
        };
        (0..length).map(|_| step()).collect()
    }
}

fn append(entries: Vec<Entry>) -> Step {
    write(appending(entries))
}

fn appending(entries: Vec<Entry>) -> WriteBatch {
    WriteBatch::of_entries(entries)
}

fn save(term: u64, vote: u64) -> Step {
    write(WriteBatch { hard_state: Some(hard_state(term, vote)), ..WriteBatch::default() })
}

fn truncate(after: u64) -> Step {
    write(WriteBatch { truncate_after: Some(index(after)), ..WriteBatch::default() })
}

fn purge(at: u64, term: u64) -> Step {
    write(WriteBatch { purge_upto: Some(id(at, term)), ..WriteBatch::default() })
}

fn write(batch: WriteBatch) -> Step {
    Step::Write(batch)
}

fn reopened(ending: Ending) -> Vec<Step> {
    let mut steps = vec![append(entries(1..=5, 1)), save(2, 1), Step::Reopen(ending)];
    steps.extend([append(entries(6..=9, 2)), truncate(7), Step::Reopen(ending)]);
    steps.extend([Step::Reopen(ending), append(entries(8..=12, 3)), purge(9, 3)]);
    steps.extend([Step::Reopen(ending), save(4, 0), append(entries(13..=13, 4))]);
    steps
}

fn seed() -> u64 {
    setting("KONTIKI_SEED").unwrap_or(SEED)
}

/// The number of moments that are tried for a store whose opening takes this long.
fn images(opening: Duration) -> u64 {
    let most = if is_deep() { DEEP_IMAGES } else { IMAGES };
    let affordable = affordable(most, FEWEST_IMAGES, OPENINGS, opening);
    setting("KONTIKI_IMAGES").unwrap_or(affordable)
}

async fn survive(log: &mut Subject, steps: Vec<Step>) -> Checked {
    try_script(log, seed(), steps, 1).await
}

/// Lets the store do all steps, and cuts the power at many moments. The number of moments is
/// divided among `scripts` scripts.
async fn try_script(log: &mut Subject, seed: u64, steps: Vec<Step>, scripts: u64) -> Checked {
    let power = match log.info().durability {
        Durability::Volatile => {
            return Err(Halt::DoesNotApply("the store declares that it is volatile"));
        }
        Durability::ProcessCrash => false,
        Durability::PowerLoss => true,
    };
    let (way, atomic) = (log.way(), log.info().atomic_batch);
    let writes_asynchronously = !log.info().may_block;
    let journal = log.journal().clone();
    let log_steps = |lines: &[String]| journal.replace(lines);
    let mut place = log.new_place();
    let opening = check_movable(log.new_place(), log.info().durability).await?;
    let images = images(opening);
    let reduced = (images < IMAGES && setting("KONTIKI_IMAGES").is_none()).then_some(images);
    let mut workload = Workload { place: place.as_mut(), way, atomic, log_steps: &log_steps };
    let history = History::default();
    let beginning = Beginning { history, creation_end: 0, legal: None, setup: Vec::new() };
    let recording = workload.record(beginning, |_| steps).await?;
    if recording.turns_over() {
        journal.tally().turn_over();
    }
    let strict_names = env::var_os("KONTIKI_STRICT_NAMES").is_some();
    let depth = CutOptions { seed, power, strict_names, writes_asynchronously, images };
    let rng = Rng::stream(depth.seed, "cuts", u64::from(way == crate::conformance::Way::Write));
    let tally = journal.tally().clone();
    let mut run = CutRun { workload, depth, rng, opened: 0, tally };
    let examined = run.examine(&recording, images.div_ceil(scripts) as usize).await;
    let opened = run.opened;
    run.tally.add_images(opened);
    examined?;
    if reduced.is_some() {
        run.tally.reduce();
    }
    match reduced {
        None => println!("{opened} images were opened"),
        Some(images) => println!(
            "{opened} images were opened, of {images} moments and not {IMAGES}: an opening takes \
             {opening:?}"
        ),
    }
    Ok(())
}
