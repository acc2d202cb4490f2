//! What a power cut may leave of a disk.
//!
//! The model, decided in `docs/decisions/0100-what-a-power-cut-may-leave.md`:
//!
//! - Everything that a sync of a file covered survives: bytes, size and holes. Of the changes after
//!   the last sync any part may survive: a write completely, not at all, or torn between sectors of
//!   512 bytes; a size or a hole completely or not at all. The surviving changes are applied in
//!   their order.
//! - The write in flight may be torn between any two bytes where the file held only zeros.
//! - The names of a directory are as they were when it was last synced. Of the changes after that,
//!   a prefix may survive, each change completely. A rename is one step, in both directories. Names
//!   of different directories do not depend on each other.
//! - A sync of a file that was created while the store was initialized also makes its name durable,
//!   and the names of the directories above it; a sync of a file created later does not
//!   ([`Names`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::change::{Change, Ino, Name};
use crate::history::History;
use crate::rng::Rng;
use crate::tree::Tree;

/// The unit that a disk writes completely or not at all.
const SECTOR: u64 = 512;

/// What happens to the changes that were not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// They are lost.
    Lost,
    /// They all survive, as when only the process was killed.
    Kept,
    /// They survive except for the last write, which is torn.
    Torn,
    /// A prefix of them survives, as if the disk had written in order.
    InOrder,
    /// Some operations survive and others do not.
    Some,
    /// Some sectors survive and others do not.
    Sectors,
    /// The sizes survive, with zeros in place of the bytes.
    Sizes,
    /// The changes of one file are lost, those of all others survive.
    OneFileLost,
    /// The changes of one file survive, those of all others are lost.
    OneFileKept,
}

/// All fates, the simple ones first.
pub const FATES: [Fate; 9] = [
    Fate::Lost,
    Fate::Kept,
    Fate::Torn,
    Fate::InOrder,
    Fate::Some,
    Fate::Sectors,
    Fate::Sizes,
    Fate::OneFileLost,
    Fate::OneFileKept,
];

/// When a sync of a file makes its own name durable too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Never, which is all that POSIX promises.
    Strict,
    /// If it was created among the first this many changes, as on ext4, XFS and Btrfs.
    CarriedBefore(usize),
}

/// A power cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The number of changes before the cut.
    pub at: usize,
    /// What happens to the changes that were not durable.
    pub fate: Fate,
    /// When names are durable.
    pub names: Names,
    /// The seed of the choices that the fate leaves open.
    pub seed: u64,
}

/// The state of the disk after a power cut.
#[derive(Clone, Debug)]
pub struct Image {
    /// The files.
    pub tree: Tree,
    /// The changes that are missing, as text.
    pub missing: Vec<String>,
}

impl History {
    /// The state after a power cut.
    pub fn cut(&self, cut: &Cut) -> Image {
        let changes = &self.changes[..cut.at.min(self.changes.len())];
        let mut rng = Rng::stream(cut.seed, cut.at as u64);
        let durable = Durable::of(changes, cut.names);
        let names = surviving_names(changes, durable.names.clone(), cut.fate, &mut rng);
        let mut image = Image { tree: self.base.clone(), missing: Vec::new() };
        let mut lot = Lot::draw(changes, &durable, cut.fate, &mut rng);
        let paths = self.paths();
        for (number, change) in changes.iter().enumerate() {
            let kept = match change.file() {
                None => image.keep_name(change, is_within(change, number, &names)),
                Some(_) if durable.bytes.contains(&number) => {
                    image.tree.apply(change);
                    Kept::All
                }
                Some(ino) => image.keep_bytes(change, lot.of(number, ino), &mut lot.rng),
            };
            match kept {
                Kept::All => {}
                Kept::Part(what) => {
                    image.missing.push(format!("{}: {what}", History::in_words(change, &paths)));
                }
                Kept::Nothing => {
                    image.missing.push(format!("{}: lost", History::in_words(change, &paths)));
                }
            }
        }
        image
    }
}

/// How much of an operation survives a cut.
enum Kept {
    All,
    Part(String),
    Nothing,
}

/// The changes that must survive.
struct Durable {
    /// The changes of bytes and sizes.
    bytes: BTreeSet<usize>,
    /// For each directory, the number of changes whose names are durable.
    names: BTreeMap<Ino, usize>,
}

impl Durable {
    fn of(changes: &[Change], names: Names) -> Durable {
        let mut pending: BTreeMap<Ino, Vec<usize>> = BTreeMap::new();
        let mut durable = Durable { bytes: BTreeSet::new(), names: BTreeMap::new() };
        for (number, change) in changes.iter().enumerate() {
            match change {
                Change::Sync { ino } => {
                    durable.bytes.extend(pending.remove(ino).unwrap_or_default());
                    durable.names.insert(*ino, number);
                }
                Change::SyncRange { ino, at, length } => {
                    let range = pages(*at, *at + *length);
                    let open = pending.entry(*ino).or_default();
                    let (covered, rest): (Vec<usize>, Vec<usize>) =
                        open.drain(..).partition(|at| is_covered(&changes[*at], range));
                    *open = rest;
                    durable.bytes.extend(covered);
                    durable.names.insert(*ino, number);
                }
                // The pages count as clean, so no later sync covers them; sizes and holes are not
                // stored in pages.
                Change::SyncFailed { ino } => {
                    let is_write = |at: &usize| matches!(changes[*at], Change::Write { .. });
                    pending.entry(*ino).or_default().retain(|at| !is_write(at));
                }
                _ => {
                    if let Some(ino) = change.file() {
                        pending.entry(ino).or_default().push(number);
                    }
                }
            }
        }
        if let Names::CarriedBefore(initial) = names {
            durable.carry_names(&changes[..initial.min(changes.len())]);
        }
        durable.names = closed(changes, durable.names);
        durable
    }

    /// Goes from the last change to the first, because a durable name in a directory also makes the
    /// directory's own name durable.
    fn carry_names(&mut self, initial: &[Change]) {
        for (number, change) in initial.iter().enumerate().rev() {
            if let Change::Create { ino, at: Name { dir, .. }, .. } = change
                && self.names.contains_key(ino)
            {
                let bound = self.names.entry(*dir).or_default();
                *bound = (number + 1).max(*bound);
            }
        }
    }
}

/// The size of a page in the page cache.
const PAGE_BYTES: u64 = 4096;

/// A range, widened to whole pages: a sync of a range writes the pages that it touches.
fn pages(at: u64, end: u64) -> (u64, u64) {
    (at / PAGE_BYTES * PAGE_BYTES, end.div_ceil(PAGE_BYTES) * PAGE_BYTES)
}

/// Whether a sync of a range makes a change of its file durable. Sizes and holes are not in pages:
/// they belong to the file's metadata, which each sync writes.
fn is_covered(change: &Change, (from, to): (u64, u64)) -> bool {
    match change {
        Change::Write { at, bytes, .. } => from <= *at && *at + bytes.len() as u64 <= to,
        _ => true,
    }
}

/// Whether the names of a change are among the surviving ones.
fn is_within(change: &Change, number: usize, names: &BTreeMap<Ino, usize>) -> bool {
    change.directories().any(|dir| names.get(&dir).is_some_and(|bound| number < *bound))
}

/// Extends the surviving names so that a rename survives in both directories or in neither,
/// together with all earlier changes in each.
fn closed(changes: &[Change], mut names: BTreeMap<Ino, usize>) -> BTreeMap<Ino, usize> {
    loop {
        let before = names.clone();
        for (number, change) in changes.iter().enumerate() {
            if is_within(change, number, &names) {
                for dir in change.directories() {
                    let bound = names.entry(dir).or_default();
                    *bound = (number + 1).max(*bound);
                }
            }
        }
        if names == before {
            return names;
        }
    }
}

/// The durable names, and as many of the others as the fate lets survive.
fn surviving_names(
    changes: &[Change],
    mut names: BTreeMap<Ino, usize>,
    fate: Fate,
    rng: &mut Rng,
) -> BTreeMap<Ino, usize> {
    let dirs: BTreeSet<Ino> = changes.iter().flat_map(|change| change.directories()).collect();
    for dir in dirs {
        let least = names.get(&dir).copied().unwrap_or(0);
        let later = changes.iter().enumerate().skip(least);
        let of_dir = later.filter(|(_, change)| change.directories().any(|its| its == dir));
        let pending: Vec<usize> = of_dir.map(|(number, _)| number + 1).collect();
        let more = match fate {
            Fate::Lost => 0,
            Fate::Kept | Fate::Torn => pending.len(),
            _ => [0, pending.len(), rng.below(pending.len() as u64 + 1) as usize]
                [rng.below(3) as usize],
        };
        if more > 0 {
            names.insert(dir, pending[more - 1]);
        }
    }
    closed(changes, names)
}

/// The choices for the changes of bytes that are not durable.
struct Lot {
    fate: Fate,
    rng: Rng,
    /// The one file whose changes are treated differently, or where the order ends.
    chosen: Option<Ino>,
    end: usize,
    /// The last write, and whether it was still in flight.
    last: Option<usize>,
    in_flight: bool,
}

/// How much of one change survives.
enum Part {
    All,
    Nothing,
    Sectors,
    Size,
    Torn { in_flight: bool },
}

impl Lot {
    fn draw(changes: &[Change], durable: &Durable, fate: Fate, rng: &mut Rng) -> Lot {
        let open = |(number, change): (usize, &Change)| {
            let ino = change.file().filter(|_| !durable.bytes.contains(&number))?;
            Some((number, ino))
        };
        let open: Vec<(usize, Ino)> = changes.iter().enumerate().filter_map(open).collect();
        let files: Vec<Ino> = open.iter().map(|(_, ino)| *ino).collect();
        let chosen = (!files.is_empty()).then(|| rng.one_of(&files));
        let end = open.get(rng.below(open.len() as u64 + 1) as usize);
        let is_write = |number: &usize| matches!(changes[*number], Change::Write { .. });
        let last = open.iter().map(|(number, _)| *number).rev().find(is_write);
        Lot {
            fate,
            rng: rng.clone(),
            chosen,
            end: end.map_or(changes.len(), |(number, _)| *number),
            last,
            in_flight: last.is_some_and(|last| last + 1 == changes.len()),
        }
    }

    fn of(&mut self, number: usize, ino: Ino) -> Part {
        let whole = |is_there| if is_there { Part::All } else { Part::Nothing };
        match self.fate {
            Fate::Lost => Part::Nothing,
            Fate::Kept => Part::All,
            Fate::Torn if self.last == Some(number) => Part::Torn { in_flight: self.in_flight },
            Fate::Torn => Part::All,
            Fate::InOrder if self.end == number => Part::Torn { in_flight: false },
            Fate::InOrder => whole(number < self.end),
            Fate::Some => whole(self.rng.coin()),
            Fate::Sectors => Part::Sectors,
            Fate::Sizes => Part::Size,
            Fate::OneFileLost => whole(self.chosen != Some(ino)),
            Fate::OneFileKept => whole(self.chosen == Some(ino)),
        }
    }
}

impl Image {
    fn keep_name(&mut self, change: &Change, is_there: bool) -> Kept {
        // The file itself is created even if its name is lost: another name may refer to it.
        match change {
            Change::Create { ino, kind, .. } if !is_there => self.tree.create_node(*ino, kind),
            _ if is_there => self.tree.apply(change),
            Change::Link { .. } | Change::Unlink { .. } | Change::Rename { .. } => {}
            _ => return Kept::All,
        }
        if is_there { Kept::All } else { Kept::Nothing }
    }

    fn keep_bytes(&mut self, change: &Change, part: Part, rng: &mut Rng) -> Kept {
        let Change::Write { ino, at, bytes, .. } = change else {
            let is_there = match part {
                Part::All | Part::Size => true,
                Part::Nothing => false,
                Part::Sectors | Part::Torn { .. } => rng.coin(),
            };
            if is_there {
                self.tree.apply(change);
            }
            return if is_there { Kept::All } else { Kept::Nothing };
        };
        let (at, end) = (*at, at + bytes.len() as u64);
        let ranges = match part {
            Part::Nothing => return Kept::Nothing,
            Part::All => vec![(at, end)],
            Part::Size => Vec::new(),
            Part::Sectors => some_sectors(at, end, rng),
            Part::Torn { in_flight } => {
                let content = self.tree.content(*ino);
                let bare = content.is_none_or(|it| it.is_blank(at, end - at));
                torn(at, end, in_flight && bare, rng)
            }
        };
        self.tree.with(*ino, |content| {
            if matches!(part, Part::Size) && content.size() < end {
                content.resize(end);
            }
            for (from, to) in &ranges {
                content.write(*from, &bytes[(from - at) as usize..(to - at) as usize]);
            }
        });
        match ranges[..] {
            [(from, to)] if (from, to) == (at, end) => Kept::All,
            [] if matches!(part, Part::Size) => Kept::Part("zeros instead of the bytes".into()),
            [] => Kept::Nothing,
            _ => Kept::Part(format!("only {} are there", in_words(&ranges))),
        }
    }
}

fn in_words(ranges: &[(u64, u64)]) -> String {
    let mut words: Vec<String> =
        ranges.iter().take(6).map(|(from, to)| format!("{from}..{to}")).collect();
    if ranges.len() > words.len() {
        words.push("...".to_owned());
    }
    words.join(", ")
}

/// The sectors of a range, as ranges.
fn sectors(at: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    let first = at / SECTOR;
    (first..end.div_ceil(SECTOR))
        .map(move |sector| ((sector * SECTOR).max(at), ((sector + 1) * SECTOR).min(end)))
}

fn some_sectors(at: u64, end: u64, rng: &mut Rng) -> Vec<(u64, u64)> {
    // If every sector had an even chance, images with nearly all sectors or nearly none would be
    // rare.
    let rate = 1 + rng.below(7);
    let mut kept: Vec<(u64, u64)> = Vec::new();
    for (from, to) in sectors(at, end).filter(|_| rng.below(8) < rate) {
        match kept.last_mut() {
            Some((_, end)) if *end == from => *end = to,
            _ => kept.push((from, to)),
        }
    }
    kept
}

/// A prefix of a write, or the write without one of its sectors.
fn torn(at: u64, end: u64, anywhere: bool, rng: &mut Rng) -> Vec<(u64, u64)> {
    let stop = if anywhere && rng.coin() {
        at + rng.below(end - at + 1)
    } else if rng.coin() {
        return some_sectors(at, end, rng);
    } else {
        let ends: Vec<u64> = sectors(at, end).map(|(from, _)| from).collect();
        rng.one_of(&ends)
    };
    if stop > at { vec![(at, stop)] } else { Vec::new() }
}
