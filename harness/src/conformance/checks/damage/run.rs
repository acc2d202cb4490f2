//! One check of damage: a store that was written and ended, its files, and what it may show after
//! each fault in them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use raft_core::storage::{Detects, LogError, LogErrorKind, WriteBatch};

use super::places::{SECTORS, mask, spread, worth_a_flip};
use crate::conformance::contents::After;
use crate::conformance::image::{Damage, Image};
use crate::conformance::model::Model;
use crate::conformance::report::{Broken, Checked, Halt, broken, promised};
use crate::conformance::samples::{
    entries, entry, hard_state, id, identity, index, membership, sized,
};
use crate::conformance::settings::{affordable, is_deep, setting};
use crate::conformance::state_history::{StateHistory, check_kind};
use crate::conformance::subject::{Ending, Subject, Way};

/// The number of places in a file in which damage is done by default, for each way and check.
const PLACES: u64 = 48;
const DEEP_PLACES: u64 = 1000;

/// The fewest places, for a store that opens slowly.
const FEWEST_PLACES: u64 = 6;

/// A store that was written and closed, its files, and what it may show.
pub(super) struct DamageRun<'a> {
    pub(super) log: &'a mut Subject,
    pub(super) dir: PathBuf,
    pub(super) image: Image,
    /// The files as they were after each step.
    before: Vec<Image>,
    pub(super) history: StateHistory,
    /// How many lines of the journal belong to the writing of the store.
    lines: usize,
    runs: u64,
    /// How long it takes to open the undamaged files.
    opening: Duration,
}

impl<'a> DamageRun<'a> {
    pub(super) async fn new(log: &'a mut Subject, ending: Ending) -> Checked<DamageRun<'a>> {
        log.must_outlive_its_handle()?;
        if log.info().detects == Detects::Nothing {
            return Err(Halt::DoesNotApply("the store declares that it detects no damage"));
        }
        let dir = log.files()?;
        let (states, before) = write_a_small_store(log, &dir, 1).await?;
        log.end(ending).await?;
        let history = match ending {
            Ending::Closed => StateHistory::proven(states),
            Ending::Dropped => StateHistory::with_an_open_end(states),
        };
        let (image, lines) = (read(&dir)?, log.journal().lines().len());
        let (runs, opening) = (0, Duration::ZERO);
        let mut run = DamageRun { log, dir, image, before, history, lines, runs, opening };
        run.check_control().await?;
        Ok(run)
    }

    /// Restores the files unchanged. If data is missing then, the store keeps it elsewhere, and has
    /// not proven its prefix.
    async fn check_control(&mut self) -> Checked {
        let is_proven = self.log.info().detects == Detects::ProvenPrefix;
        if self.names().is_empty() {
            return Err(Halt::Skipped("the store has nothing in its directory".to_owned()));
        }
        match self.control().await {
            Err(Halt::Broken(Broken { promise, what })) if is_proven => broken(
                promise,
                format!("all files are as they were when the store ended, but {what}"),
            ),
            Err(Halt::Broken(_)) => {
                Err(Halt::DoesNotApply("the store keeps something outside of its place"))
            }
            other => other,
        }
    }

    pub(super) async fn control(&mut self) -> Checked {
        self.place(&Damage::None)?;
        let began = Instant::now();
        if let Err(error) = self.log.open_again().await {
            return broken(14, format!("the store does not open: {error}"));
        }
        self.opening = began.elapsed();
        self.log.look(After::Reopened).await
    }

    /// The number of places in each file in which damage is done.
    pub(super) fn places(&self) -> u64 {
        let most = if is_deep() { DEEP_PLACES } else { PLACES };
        let affordable = affordable(most, FEWEST_PLACES, 1, self.opening);
        setting("KONTIKI_DAMAGE").unwrap_or(affordable)
    }

    pub(super) fn names(&self) -> Vec<PathBuf> {
        self.image.files().map(|(name, _)| name.to_owned()).collect()
    }

    pub(super) fn bytes(&self, file: &Path) -> &[u8] {
        self.image.bytes(file).expect("it is one of the image's own names")
    }

    fn place(&mut self, damage: &Damage) -> Checked {
        self.log.abandon();
        self.log.journal().keep(self.lines);
        self.log.note(&format!("while the store was closed: {damage}"));
        let put = self.image.put(&self.dir, damage);
        put.map_err(|error| {
            Halt::Broken(Broken {
                promise: 17,
                what: format!("the files of a store that was dropped cannot be replaced: {error}"),
            })
        })
    }

    pub(super) async fn flip_bytes(&mut self, places: u64) -> Checked {
        for file in self.names() {
            let worth = worth_a_flip(self.bytes(&file));
            for (number, at) in spread(worth.len(), places).enumerate() {
                let at = worth[at];
                let byte = self.bytes(&file)[at];
                let damage = Damage::flip(&file, at, byte, mask(number + at));
                self.check_damage(damage).await?;
            }
        }
        Ok(())
    }

    /// Damages the files, opens the store, reads it, and writes to it if no damage was noticed.
    pub(super) async fn check_damage(&mut self, damage: Damage) -> Checked {
        self.runs += 1;
        self.place(&damage)?;
        match self.log.open_again().await {
            Err(error) => {
                self.log.abandon();
                self.check_error(&error)
            }
            Ok(()) => {
                let level = self.log.info().detects;
                let findings = self.history.look(self.log.store(), level).await?;
                match findings.error {
                    Some(error) => self.check_error(&error),
                    None => self.write_on(level).await,
                }
            }
        }
    }

    /// The error must say where the damage is, so that an operator can act on it: a place, a cause,
    /// or which entry it is.
    fn check_error(&self, error: &LogError) -> Checked {
        check_kind(error)?;
        let names_the_entry = matches!(error.kind, LogErrorKind::Corrupt { index: Some(_) });
        let says_where = names_the_entry || !error.place.is_empty() || error.source.is_some();
        promised(14, says_where, || format!("`{error}` does not say where the damage is"))
    }

    /// Appends an entry. If the append is acknowledged, a read must return the entry or an error;
    /// nothing else may have changed.
    async fn write_on(&mut self, level: Detects) -> Checked {
        let log = &mut *self.log;
        let last = log.store().bounds().last;
        let next = sized(last.index.get() + 1, last.term.get() + 1, 6000);
        let written = log.store().append(std::slice::from_ref(&next)).await;
        if let Err(error) = written {
            return check_kind(&error);
        }
        log.note(&format!("append {}: Ok", next.id));
        let history = self.history.and_then(&next);
        history.look(log.store(), level).await?;
        if !self.runs.is_multiple_of(4) {
            return Ok(());
        }
        log.end(Ending::Dropped).await?;
        match log.open_again().await {
            Ok(()) => history.look(log.store(), level).await.map(|_| ()),
            Err(error) => check_kind(&error),
        }
    }

    /// The earlier lengths of a file, from the steps at which it was shorter than now. The bytes
    /// that were written next begin at these offsets.
    pub(super) fn earlier_lengths(&self, file: &Path) -> Vec<usize> {
        let now = self.bytes(file).len();
        let then = self.before.iter().filter_map(|image| image.bytes(file));
        let mut lengths: Vec<usize> = then.map(<[u8]>::len).filter(|then| *then < now).collect();
        lengths.dedup();
        lengths
    }

    /// Every sector that ever had other content, with that content.
    pub(super) fn stale_sectors(&self) -> Vec<Damage> {
        let mut found: Vec<Damage> = Vec::new();
        for (file, now) in self.image.files() {
            for sector in SECTORS {
                for at in (0..now.len()).step_by(sector) {
                    let end = (at + sector).min(now.len());
                    let mut seen = vec![&now[at..end]];
                    for then in self.before.iter().filter_map(|image| image.bytes(file)) {
                        let Some(then) = then.get(at..end) else { continue };
                        if !seen.contains(&then) {
                            seen.push(then);
                            let (file, bytes) = (file.to_owned(), then.to_vec());
                            found.push(Damage::Bytes { file, at, bytes, how: "stale" });
                        }
                    }
                }
            }
        }
        found
    }

    /// The files of a store that was written like this one, for another node.
    pub(super) async fn image_of_another_store(&mut self) -> Checked<Image> {
        self.log.begin_anew().await?;
        let dir = self.log.files()?;
        write_a_small_store(self.log, &dir, 2).await?;
        self.log.end(Ending::Closed).await?;
        self.dir = dir.clone();
        read(&dir)
    }
}

/// Makes every kind of request; returns the states that the store went through, and its files after
/// each.
async fn write_a_small_store(
    log: &mut Subject,
    dir: &Path,
    store: u64,
) -> Checked<(Vec<Model>, Vec<Image>)> {
    let mut states = vec![log.model.clone()];
    log.save_identity(identity(store)).await?;
    states.push(log.model.clone());
    let mut images = vec![read(dir)?];
    let of_term = |term: u64| term * store;
    let batches = [
        WriteBatch {
            hard_state: Some(hard_state(of_term(1), 3)),
            commit_hint: Some(index(1)),
            ..WriteBatch::of_entries(vec![membership(1, 0, 3), entry(2, 1), entry(3, 1)])
        },
        WriteBatch::of_entries((4..=9).map(|at| sized(at, of_term(1), 1500)).collect()),
        WriteBatch {
            hard_state: Some(hard_state(of_term(3), 0)),
            truncate_after: Some(index(7)),
            append: vec![entry(8, of_term(3)), membership(9, of_term(3), 5)],
            commit_hint: Some(index(6)),
            ..WriteBatch::default()
        },
        WriteBatch::of_purge(id(3, 1)),
        WriteBatch::of_entries((10..=13).map(|at| sized(at, of_term(3), 900)).collect()),
        WriteBatch::of_hard_state(hard_state(of_term(4), 2)),
        WriteBatch {
            truncate_after: Some(index(12)),
            append: entries(13..=16, of_term(4)),
            commit_hint: Some(index(12)),
            ..WriteBatch::default()
        },
    ];
    for batch in batches {
        let course = log.model.course(&batch).states;
        match log.way() {
            Way::SmallVerbs => states.extend(course),
            Way::Write => states.extend(course.into_iter().next_back()),
        }
        states.dedup();
        log.change(batch).await?;
        images.push(read(dir)?);
    }
    Ok((states, images))
}

pub(super) fn read(dir: &Path) -> Checked<Image> {
    Ok(Image::of(dir).expect("the directory of a store can be read"))
}
