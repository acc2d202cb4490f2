//! Which commands of a window may be executed now.
//!
//! Commands are numbered in the order of the log. A command waits for every earlier one that it
//! conflicts with and that is not done. So commands that conflict are executed in the order of the
//! log, and any others side by side, in any order. Every result is that of the serial execution:
//! what a command reads was written by the same commands, and nothing else.
//!
//! Deliberately absent: threads, and the commands themselves.

use std::collections::VecDeque;

use super::access::Access;

/// The commands from the oldest that is not done to the newest that was added.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// The number of the first slot: every command before it is done.
    first: u64,
    slots: VecDeque<Slot>,
    /// Commands that may be executed and are not. Invariant: all of them are in `slots`.
    ready: VecDeque<u64>,
}

#[derive(Debug)]
struct Slot {
    access: Access,
    /// How many earlier commands this one waits for.
    waits_for: usize,
    /// The later commands that wait for this one.
    waiting: Vec<u64>,
    is_done: bool,
}

impl Schedule {
    /// Adds the next command; returns its number.
    pub(super) fn add(&mut self, access: Access) -> u64 {
        let number = self.end();
        let mut waits_for = 0;
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_done) {
            if slot.access.conflicts(&access) {
                slot.waiting.push(number);
                waits_for += 1;
            }
        }
        self.slots.push_back(Slot { access, waits_for, waiting: Vec::new(), is_done: false });
        if waits_for == 0 {
            self.ready.push_back(number);
        }
        number
    }

    /// Takes the oldest command that became ready, to execute it.
    pub(super) fn take(&mut self) -> Option<u64> {
        self.ready.pop_front()
    }

    /// A command that was taken is done.
    pub(super) fn done(&mut self, number: u64) {
        let slot = self.slot(number);
        slot.is_done = true;
        for later in std::mem::take(&mut slot.waiting) {
            let slot = self.slot(later);
            slot.waits_for -= 1;
            if slot.waits_for == 0 {
                self.ready.push_back(later);
            }
        }
        while self.slots.front().is_some_and(|slot| slot.is_done) {
            self.slots.pop_front();
            self.first += 1;
        }
    }

    /// The number of the oldest command that is not done: all before it are.
    pub(super) fn prefix(&self) -> u64 {
        self.first
    }

    /// The number of the command that is added next.
    pub(super) fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// How many commands the window holds: those that are done count as long as an older one is
    /// not.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether a command before `end` is not done, and conflicts with this access.
    pub(super) fn is_blocked(&self, access: &Access, end: u64) -> bool {
        let count = end.saturating_sub(self.first) as usize;
        let open = self.slots.iter().take(count).filter(|slot| !slot.is_done);
        open.into_iter().any(|slot| slot.access.conflicts(access))
    }

    fn slot(&mut self, number: u64) -> &mut Slot {
        let at = (number - self.first) as usize;
        &mut self.slots[at]
    }
}
