//! Damage at rest: whatever happens to the files of a closed store, damage is never taken for data
//! (P14).
//!
//! A small store is written and closed, and its files are saved. Then, repeatedly, they are
//! restored with one fault in them, the store is opened, and everything in it is read, entry by
//! entry. A store that declares [`Detects::ProvenPrefix`] must show exactly what it held, or an
//! error in its place; one that declares [`Detects::Payload`] may have lost something, but shows
//! nothing that was never written. If no damage was noticed, the store is written to and read
//! again: only a writer finds damage in a part that only a writer uses.
//!
//! A store that declares that it detects nothing is not tested, since damage might crash the test's
//! process.
//!
//! By default damage is done in a sample of places. `KONTIKI_DAMAGE` sets the number of places in
//! each file (if the file has fewer bytes, each byte is damaged), and `KONTIKI_SEED` shifts them.
//! `KONTIKI_DEEP` uses twenty times as many; a store that opens slowly gets fewer.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use raft_core::storage::{Detects, LogError, LogErrorKind, WriteBatch};

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

/// The lengths that are zeroed or restored at once.
const SECTORS: [usize; 2] = [512, 4096];

/// After a clean close, the bits of each byte in turn are changed.
pub async fn a_flipped_byte_never_passes_for_data(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    let places = run.places();
    run.flip_bytes(places).await
}

/// The state that an opening showed is proven, even if nothing was written since.
pub async fn what_an_opening_showed_is_proven(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Dropped).await?;
    run.control().await?;
    run.log.end(Ending::Dropped).await?;
    run.image = read(&run.dir)?;
    run.history = StateHistory::proven(std::mem::take(&mut run.history).into_states());
    let places = run.places();
    run.flip_bytes(places / 2).await
}

/// Without a close, damage to the last batch may be taken for a torn write, but damage before it
/// may not.
pub async fn only_the_last_batch_may_pass_for_torn(log: &mut Subject) -> Checked {
    if !log.info().atomic_batch {
        return Err(Halt::DoesNotApply("the parts of a batch are proven one by one"));
    }
    let mut run = DamageRun::new(log, Ending::Dropped).await?;
    let places = run.places();
    run.flip_bytes(places / 2).await
}

/// Sectors and pages of zeros, as returned by a disk that lost a write to a new place.
pub async fn zeroed_sectors_never_pass_for_data(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    for file in run.names() {
        for sector in SECTORS {
            let length = run.bytes(&file).len();
            for number in spread(length.div_ceil(sector), run.places() / 3) {
                let at = number * sector;
                let old = &run.bytes(&file)[at..(at + sector).min(length)];
                if old.iter().any(|byte| *byte != 0) {
                    let bytes = vec![0; old.len()];
                    let how = "zeroed";
                    run.check_damage(Damage::Bytes { file: file.clone(), at, bytes, how }).await?;
                }
            }
        }
        for at in run.earlier_lengths(&file) {
            let bytes = vec![0; run.bytes(&file).len() - at];
            let how = "zeroed to the end";
            run.check_damage(Damage::Bytes { file: file.clone(), at, bytes, how }).await?;
        }
    }
    Ok(())
}

/// Sectors with old content, as returned by a disk that lost a write.
pub async fn stale_sectors_never_pass_for_data(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    let stale = run.stale_sectors();
    for number in spread(stale.len(), run.places() * 3) {
        run.check_damage(stale[number].clone()).await?;
    }
    Ok(())
}

/// Each file in turn is missing.
pub async fn a_missing_file_never_passes_for_an_empty_one(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    for file in run.names() {
        run.check_damage(Damage::Missing { file: file.clone() }).await?;
        run.check_damage(Damage::Truncated { file, length: 0 }).await?;
    }
    Ok(())
}

/// Each file in turn ends early.
pub async fn a_shorter_file_never_passes_for_a_whole_one(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    for file in run.names() {
        let length = run.bytes(&file).len();
        let written = run.bytes(&file).iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let mut lengths: Vec<usize> = spread(length, run.places() / 3).collect();
        lengths.extend(run.earlier_lengths(&file));
        lengths.extend([length - 1, written, written / 2, written / SECTORS[0] * SECTORS[0]]);
        lengths.sort_unstable();
        lengths.dedup();
        for length in lengths.into_iter().filter(|cut| *cut < length) {
            run.check_damage(Damage::Truncated { file: file.clone(), length }).await?;
        }
    }
    Ok(())
}

/// Bytes after the end: zeros, noise, and the file once more.
pub async fn a_longer_file_does_not_make_a_longer_log(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    for file in run.names() {
        for length in [1, 512, 5000] {
            let tails = [(vec![0; length], "zeros"), (noise(length), "noise")];
            for (bytes, how) in tails {
                run.check_damage(Damage::Tail { file: file.clone(), bytes, how }).await?;
            }
        }
        for at in run.earlier_lengths(&file).into_iter().chain([0]) {
            let bytes = run.bytes(&file)[at..].to_vec();
            let how = "the last bytes again";
            run.check_damage(Damage::Tail { file: file.clone(), bytes, how }).await?;
        }
    }
    Ok(())
}

/// A file of unknown origin, a copy of each file under a similar name, and, where a store has
/// several files, each of its files replaced by that of another store.
pub async fn foreign_files_are_not_accepted(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    let letter = Damage::Put {
        file: PathBuf::from("letter.txt"),
        bytes: b"dear reader".to_vec(),
        how: "a file of another program",
    };
    run.check_damage(letter).await?;
    for file in run.names() {
        for name in names_beside(&file) {
            if run.image.bytes(&name).is_none() {
                let bytes = run.bytes(&file).to_vec();
                let how = "a copy of another file";
                run.check_damage(Damage::Put { file: name, bytes, how }).await?;
            }
        }
    }
    // A store in a single file has no other part: with the file of another store it becomes the
    // other store, as its identity shows, and nothing in it could reveal the exchange.
    if run.names().iter().filter(|name| !run.bytes(name).is_empty()).count() < 2 {
        return Ok(());
    }
    let other = run.image_of_another_store().await?;
    for file in run.names() {
        if let Some(bytes) = other.bytes(&file).filter(|bytes| *bytes != run.bytes(&file)) {
            let (bytes, how) = (bytes.to_vec(), "that file of another store");
            run.check_damage(Damage::Put { file, bytes, how }).await?;
        }
    }
    Ok(())
}

/// A store that was written and closed, its files, and what it may show.
struct DamageRun<'a> {
    log: &'a mut Subject,
    dir: PathBuf,
    image: Image,
    /// The files as they were after each step.
    before: Vec<Image>,
    history: StateHistory,
    /// How many lines of the journal belong to the writing of the store.
    lines: usize,
    runs: u64,
    /// How long it takes to open the undamaged files.
    opening: Duration,
}

impl<'a> DamageRun<'a> {
    async fn new(log: &'a mut Subject, ending: Ending) -> Checked<DamageRun<'a>> {
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

    async fn control(&mut self) -> Checked {
        self.place(&Damage::None)?;
        let began = Instant::now();
        if let Err(error) = self.log.open_again().await {
            return broken(14, format!("the store does not open: {error}"));
        }
        self.opening = began.elapsed();
        self.log.look(crate::conformance::contents::After::Reopened).await
    }

    /// The number of places in each file in which damage is done.
    fn places(&self) -> u64 {
        let most = if is_deep() { DEEP_PLACES } else { PLACES };
        let affordable = affordable(most, FEWEST_PLACES, 1, self.opening);
        setting("KONTIKI_DAMAGE").unwrap_or(affordable)
    }

    fn names(&self) -> Vec<PathBuf> {
        self.image.files().map(|(name, _)| name.to_owned()).collect()
    }

    fn bytes(&self, file: &Path) -> &[u8] {
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

    async fn flip_bytes(&mut self, places: u64) -> Checked {
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
    async fn check_damage(&mut self, damage: Damage) -> Checked {
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
    fn earlier_lengths(&self, file: &Path) -> Vec<usize> {
        let now = self.bytes(file).len();
        let then = self.before.iter().filter_map(|image| image.bytes(file));
        let mut lengths: Vec<usize> = then.map(<[u8]>::len).filter(|then| *then < now).collect();
        lengths.dedup();
        lengths
    }

    /// Every sector that ever had other content, with that content.
    fn stale_sectors(&self) -> Vec<Damage> {
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
    async fn image_of_another_store(&mut self) -> Checked<Image> {
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

fn read(dir: &Path) -> Checked<Image> {
    Ok(Image::of(dir).expect("the directory of a store can be read"))
}

/// The offsets of all bytes of a file, except that only a few are taken from blocks of zeros.
fn worth_a_flip(bytes: &[u8]) -> Vec<usize> {
    let mut worth = Vec::new();
    for (number, block) in bytes.chunks(SECTORS[0]).enumerate() {
        let start = number * SECTORS[0];
        if block.iter().any(|byte| *byte != 0) {
            worth.extend(start..start + block.len());
        } else if number % 64 == 0 {
            worth.push(start + number / 64 % block.len());
        }
    }
    worth
}

/// `places` of the numbers below `length`, spread evenly.
fn spread(length: usize, places: u64) -> impl Iterator<Item = usize> {
    let places = places.max(1) as usize;
    let step = length.div_ceil(places).max(1);
    let seed = setting("KONTIKI_SEED").unwrap_or(0) as usize;
    let shift = move |start: usize| (start / step * 7 + seed * 13) % step;
    (0..length).step_by(step).map(move |start| start + shift(start)).filter(move |at| *at < length)
}

/// The bits to flip: one bit or several.
fn mask(number: usize) -> u8 {
    match number % 6 {
        0 => 0xff,
        1 => 0x80,
        _ => 1 << (number % 8),
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = length as u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Names like this one, except for the last letter or digit before the extension.
fn names_beside(file: &Path) -> Vec<PathBuf> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default().len();
    let Some(last) = name[..stem].chars().last().filter(char::is_ascii_alphanumeric) else {
        return Vec::new();
    };
    let others = match last {
        '0'..='8' => [(last as u8 + 1) as char, '9'],
        _ => ['0', '1'],
    };
    let beside =
        |other: char| file.with_file_name(format!("{}{other}{}", &name[..stem - 1], &name[stem..]));
    others.into_iter().map(beside).collect()
}
