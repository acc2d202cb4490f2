//! Snapshots of the state: the key space with its readable history, and the alarms.
//!
//! ```text
//!   machine: pin --PinnedState--> thread: step, write, step, write ...
//!                                   |
//!                                   +-- the lock is held for one step; changes go on between them
//! ```
//!
//! The key space keeps every version of a key until it is compacted and swept. So a pinned state is
//! two revisions and a pin that delays the sweep: it takes no time and copies nothing, whatever the
//! size of the key space. It is written in steps, as a large range is read. The bytes depend only
//! on the commands that were applied, so the members of a cluster write the same ones.
//!
//! `docs/formats/etcd-state.md` specifies the bytes. Absent: the file around them, its checksums,
//! and when a snapshot is taken, which are the engine's.

mod format;
mod input;

use std::io::{self, Read, Write};

use kontiki::{Fatal, Snapshot};

use crate::alarms::Alarms;
use crate::mvcc::{Contents, Rebuild};
use crate::shared::{Generation, State};

use format::{Counts, Record};
use input::{Input, Unrestorable};

/// How many versions are examined, and about how many bytes are copied, before the store's lock is
/// released: some tens of microseconds.
const STEP_VERSIONS: usize = 512;
const STEP_BYTES: usize = 64 * 1024;

/// A state that later commands do not change.
pub(crate) struct PinnedState {
    generation: Generation,
    contents: Contents,
    alarms: Alarms,
    /// How many versions one step examines.
    step_versions: usize,
}

impl PinnedState {
    /// Pins the present state of a generation.
    pub(crate) fn of(generation: Generation) -> PinnedState {
        let (contents, alarms) = {
            let store = generation.read();
            (Contents::of(&store), store.state().alarms.clone())
        };
        PinnedState { generation, contents, alarms, step_versions: STEP_VERSIONS }
    }

    /// Appends the bytes of the next step.
    fn step(&mut self, to: &mut Vec<u8>, counts: &mut Counts) -> io::Result<()> {
        let mut put = Ok(());
        self.contents.step(&self.generation.read(), self.step_versions, |piece| {
            put = format::put_piece(to, piece, counts);
            put.is_ok() && to.len() < STEP_BYTES
        });
        put
    }
}

impl Snapshot for PinnedState {
    fn write_to(mut self: Box<Self>, out: &mut dyn Write) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(2 * STEP_BYTES);
        let mut counts = Counts::default();
        format::put_head(&mut buffer, self.contents.revision(), self.contents.compacted());
        for alarm in self.alarms.raised() {
            format::put_alarm(&mut buffer, alarm, &mut counts);
        }
        while !self.contents.is_over() {
            self.step(&mut buffer, &mut counts)?;
            out.write_all(&buffer)?;
            buffer.clear();
        }
        format::put_end(&mut buffer, counts);
        out.write_all(&buffer)
    }
}

/// Reads a state. It holds no more than one key or value in memory that is not part of the state
/// yet.
///
/// # Errors
///
/// If a newer version wrote it, if it cannot be the state of an etcd server, or if the reader
/// fails.
pub(crate) fn restore(reader: &mut dyn Read) -> Result<State, Fatal> {
    read_state(&mut Input::new(reader)).map_err(|error| Fatal::new(error.to_string()))
}

fn read_state(input: &mut Input<'_>) -> Result<State, Unrestorable> {
    let head = format::read_head(input)?;
    let mut rebuild = Rebuild::begin(head.revision, head.compacted)?;
    let mut alarms = Alarms::default();
    let mut counts = Counts::default();
    loop {
        match format::read_record(input)? {
            Record::Alarm(alarm) => {
                counts.alarms += 1;
                if !alarms.raise(alarm) {
                    return Err(Unrestorable::Unsound("an alarm is raised twice"));
                }
            }
            Record::Key(key) => {
                counts.keys += 1;
                rebuild.key(key)?;
            }
            Record::Version(version) => {
                counts.versions += 1;
                rebuild.version(version)?;
            }
            Record::End(written) if written != counts => {
                return Err(Unrestorable::Unsound("its records are not as many as its end says"));
            }
            Record::End(_) => break,
        }
    }
    input.expect_end()?;
    Ok(State { store: rebuild.finish()?, alarms })
}

#[cfg(test)]
mod tests;
