//! The state that a crash leaves of a simulated disk.

use std::collections::BTreeMap;

use super::{ByteChange, FileState, Machine, NameChange};

/// The smallest piece that a disk usually writes as a unit; here even a sector may be torn.
const SECTOR_BYTES: usize = 512;

/// A small random number generator (SplitMix64): the seed determines every number.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// How a crash treats what was not synced.
#[derive(Clone, Copy)]
enum Manner {
    LoseAll,
    KeepAll,
    /// Each sector and each name survives or not independently.
    Scatter,
    /// Each sector survives or not independently, and some are torn.
    Tear,
}

impl Manner {
    fn draw(rng: &mut Rng) -> Manner {
        match rng.below(8) {
            0 => Manner::LoseAll,
            1 => Manner::KeepAll,
            2..5 => Manner::Scatter,
            _ => Manner::Tear,
        }
    }

    fn keeps(self, rng: &mut Rng) -> bool {
        match self {
            Manner::LoseAll => false,
            Manner::KeepAll => true,
            Manner::Scatter | Manner::Tear => rng.one_in(2),
        }
    }
}

impl Machine {
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        for file in &mut self.files {
            file.crash(Manner::draw(rng), rng);
        }
        let manner = Manner::draw(rng);
        for change in std::mem::take(&mut self.pending_names) {
            if manner.keeps(rng) {
                apply_name(&mut self.durable_names, change);
            }
        }
        self.names = self.durable_names.clone();
        self.end_life();
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: NameChange) {
    match change {
        NameChange::Link(name, file) => {
            names.insert(name, file);
        }
        NameChange::Unlink(name) => {
            names.remove(&name);
        }
        NameChange::Rename(from, to, file) => {
            names.remove(&from);
            names.insert(to, file);
        }
    }
}

impl FileState {
    pub(super) fn change(&mut self, change: ByteChange) {
        apply_bytes(&mut self.bytes, &change);
        self.pending.push(change);
    }

    pub(super) fn make_durable(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply_bytes(&mut self.durable, &change);
        }
    }

    fn crash(&mut self, manner: Manner, rng: &mut Rng) {
        let synced_len = self.durable.len();
        for change in std::mem::take(&mut self.pending) {
            match change {
                ByteChange::Write { offset, bytes } => {
                    self.crash_write(offset, &bytes, manner, rng);
                }
                ByteChange::SetLen(len) if manner.keeps(rng) => self.durable.resize(len, 0),
                ByteChange::SetLen(_) => {}
            }
        }
        if matches!(manner, Manner::Scatter | Manner::Tear) {
            match rng.below(4) {
                // The length was written, not all of the bytes.
                0 => self.durable.resize(self.bytes.len().max(synced_len), 0),
                // Bytes were written, not the new length.
                1 => self.durable.truncate(synced_len),
                _ => {}
            }
        }
        self.bytes.clone_from(&self.durable);
    }

    /// A piece of a sector survives, or each of its bytes is old or new at random.
    fn tear(&mut self, at: usize, new: &[u8], rng: &mut Rng) {
        // Headers are short and lie at the front of sectors, so tear there often.
        let reach = if rng.one_in(2) { new.len().min(64) } else { new.len() };
        let cut = rng.below(reach as u64 + 1) as usize;
        match rng.below(3) {
            0 => self.keep(at, &new[..cut]),
            1 => self.keep(at + cut, &new[cut..]),
            _ => {
                for (byte, value) in new.iter().enumerate().filter(|_| rng.one_in(2)) {
                    self.keep(at + byte, &[*value]);
                }
            }
        }
    }

    fn keep(&mut self, at: usize, bytes: &[u8]) {
        apply_bytes(&mut self.durable, &ByteChange::Write { offset: at, bytes: bytes.to_vec() });
    }

    /// Each sector of a write survives or not independently.
    fn crash_write(&mut self, offset: usize, bytes: &[u8], manner: Manner, rng: &mut Rng) {
        let end = offset + bytes.len();
        let mut at = offset;
        while at < end {
            let next = (at + SECTOR_BYTES - at % SECTOR_BYTES).min(end);
            if manner.keeps(rng) {
                let new = &bytes[at - offset..next - offset];
                match manner {
                    Manner::Tear if rng.one_in(2) => self.tear(at, new, rng),
                    _ => self.keep(at, new),
                }
            }
            at = next;
        }
    }
}

fn apply_bytes(target: &mut Vec<u8>, change: &ByteChange) {
    match change {
        ByteChange::Write { bytes, .. } if bytes.is_empty() => {}
        ByteChange::Write { offset, bytes } => {
            if target.len() < offset + bytes.len() {
                target.resize(offset + bytes.len(), 0);
            }
            target[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        ByteChange::SetLen(len) => target.resize(*len, 0),
    }
}
