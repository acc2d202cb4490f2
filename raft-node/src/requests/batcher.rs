//! When waiting proposals enter the pump, and together with which others.
//!
//! Proposals that enter together become one append and one sync on each member's disk, so a group
//! that is about to form must not be broken up. Exactly one of four states holds:
//!
//! ```text
//!                 +--- a turn takes all of them ----------------------------------------+
//!                 v                                                                     |
//!   +-------+  first proposal   +-----------+  driver has gathered,          +-----+    |
//!   | Empty |------------------>| Gathering |  or CROWD are there            |     |----+
//!   +-------+                   +-----------+------------------------------->|     |
//!       |                                                                    | Due |
//!       |      first proposal, and it is presumed to come alone              |     |
//!       +------------------------------------------------------------------->|     |
//!                                                                            +-----+
//!                                   driver has gathered,                       ^ |  a turn comes
//!                               +-- or CROWD are there ------------------------+ |  while the
//!                               |                                                |  leader's disk
//!                     +------------------+                                       |  writes
//!                     | HeldDuring write |<--------------------------------------+
//!                     +------------------+
//! ```
//!
//! - *Gathering*: the first proposal of a group wakes the driver. The driver lets other tasks run
//!   as long as more proposals keep coming ([`Gather`]), and then the group is due. A turn that
//!   is taken for another reason does not take the group.
//! - *Alone*: waking the driver costs too much for a proposal that comes alone, so its client
//!   takes the turn itself. Whether proposals come alone cannot be known without waiting for
//!   others. The driver judges it, and the next [`ALONE_FOR`] groups are presumed to be like the
//!   last; then one group wakes the driver again, so that a crowd is noticed.
//! - *HeldDuring*: while the leader's own disk writes, proposals continue to gather for the next
//!   sync. They are held during one write only: proposals that followers forward are not held, and
//!   could keep the disk busy for ever. So `Due` remembers the write that the group has waited for.

use std::task::Waker;

use bytes::Bytes;

use super::error::ProposeError;
use super::reply::{Answers, OpenBatch, Reply};

/// How many groups are presumed to have one proposal after a group that had one.
const ALONE_FOR: u32 = 64;

/// A group of this many proposals is due at once: a processor takes about as long to process them
/// as a disk takes for a sync, and the two should work at the same time.
pub(crate) const CROWD: usize = 512;

/// How often the driver lets other tasks run for one group.
const MAX_YIELDS: usize = 8;

/// The answer to a proposal.
pub(crate) type ProposeResult = Result<Bytes, ProposeError>;

/// What the caller of [`Batcher::propose`] must do for its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Take a turn.
    TakeTurn,
    /// Wake the driver.
    WakeDriver,
    /// Nothing: an earlier proposal has done it.
    Nothing,
}

/// Proposals that wait for a turn, and the policy that decides which turn takes them.
#[derive(Debug, Default)]
pub(crate) struct Batcher {
    state: State,
    /// `None` if and only if the state is [`State::Empty`].
    open: Option<Group>,
    /// How many more groups are presumed to have one proposal.
    alone: u32,
    /// Whether the driver has ended: then each proposal is due at once, and its caller takes the
    /// turn.
    has_ended: bool,
}

/// The states of the drawing above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    Gathering,
    /// The next turn takes the proposals, unless it comes during a write for which they have not
    /// waited yet.
    Due {
        /// The write for which they have waited.
        waited_for: Option<u64>,
    },
    HeldDuring {
        write: u64,
    },
}

#[derive(Debug)]
struct Group {
    commands: Vec<Bytes>,
    replies: OpenBatch<ProposeResult>,
}

impl Batcher {
    /// Adds a command. `waker` is that of the task that is about to wait for the reply, if it is
    /// known; it is registered only where nothing is left to do before waiting.
    pub(crate) fn propose(
        &mut self,
        command: Bytes,
        waker: Option<&Waker>,
    ) -> (Reply<ProposeResult>, Next) {
        let next = self.join();
        let new = || Group { commands: Vec::new(), replies: OpenBatch::new() };
        let open = self.open.get_or_insert_with(new);
        let size = command.len() as u32;
        open.commands.push(command);
        (open.replies.join(size, waker.filter(|_| next != Next::TakeTurn)), next)
    }

    /// The state after one more proposal, and what its caller does.
    fn join(&mut self) -> Next {
        let count = self.len() + 1;
        if self.has_ended || count == CROWD {
            self.make_due();
            return Next::TakeTurn;
        }
        if count > 1 {
            return Next::Nothing;
        }
        if self.alone == 0 {
            self.state = State::Gathering;
            return Next::WakeDriver;
        }
        self.alone -= 1;
        self.make_due();
        Next::TakeTurn
    }

    fn make_due(&mut self) {
        self.state = match self.state {
            State::Empty | State::Gathering => State::Due { waited_for: None },
            State::HeldDuring { write } => State::Due { waited_for: Some(write) },
            due @ State::Due { .. } => due,
        };
    }

    /// The driver has let other tasks run: what waits is due. `was_alone` means that one proposal
    /// waited and no other came.
    pub(crate) fn note_gathered(&mut self, was_alone: bool) {
        if was_alone {
            self.alone = ALONE_FOR;
        }
        if self.open.is_some() {
            self.make_due();
        }
    }

    /// What the turn that begins now takes: all proposals, or none. `write` is the number of the
    /// write of the leader's own disk that is under way.
    pub(crate) fn take(
        &mut self,
        write: Option<u64>,
    ) -> Option<(Vec<Bytes>, Answers<ProposeResult>)> {
        let State::Due { waited_for } = self.state else { return None };
        if let Some(write) = write
            && self.len() < CROWD
            && waited_for.is_none_or(|before| before == write)
        {
            self.state = State::HeldDuring { write };
            return None;
        }
        self.state = State::Empty;
        let Group { commands, replies } = self.open.take()?;
        if commands.len() > 1 {
            self.alone = 0;
        }
        Some((commands, replies.seal()))
    }

    /// Whether a turn that begins now looks at the proposals.
    pub(crate) fn is_due(&self) -> bool {
        matches!(self.state, State::Due { .. })
    }

    /// How many proposals wait for a turn.
    pub(crate) fn len(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.commands.len())
    }

    /// Called when the driver has ended.
    pub(crate) fn end(&mut self) {
        self.has_ended = true;
    }
}

/// The driver's part in gathering: on a runtime that runs a woken task before the others, a turn
/// would find one proposal where a moment later it finds a hundred.
///
/// The driver asks [`Gather::continues`] before each time that it lets other tasks run.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    /// The most requests that the driver has seen waiting.
    seen: usize,
    yields: usize,
}

impl Gather {
    /// Whether to let other tasks run once more, now that `waiting` requests wait.
    pub(crate) fn continues(&mut self, waiting: usize) -> bool {
        let continues = waiting > self.seen && self.yields < MAX_YIELDS;
        if continues {
            self.seen = waiting;
            self.yields += 1;
        }
        continues
    }

    /// Whether other tasks have run.
    pub(crate) fn has_waited(&self) -> bool {
        self.yields > 0
    }

    /// Whether other tasks have run, and still only one request waits.
    pub(crate) fn was_alone(&self) -> bool {
        self.seen == 1
    }
}
