//! The application's side of a member: a deterministic state machine for committed commands.

use std::io::{self, Read, Write};
use std::ops::Range;

use bytes::Bytes;
use raft_core::types::EntryId;
use thiserror::Error;

/// One committed command, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The entry's id. Ids rise along the log; not every index carries a command.
    pub id: EntryId,
    /// The bytes that were proposed.
    pub command: Bytes,
}

/// The answers to a batch of commands, one for each, in order.
///
/// ```
/// use raft_node::Replies;
///
/// let mut replies = Replies::with_capacity(2);
/// replies.push("first".into());
/// replies.push("second".into());
/// assert_eq!(replies.into_answers(), ["first", "second"]);
/// ```
#[derive(Debug, Default)]
pub struct Replies {
    answers: Vec<Bytes>,
    wanted: Wanted,
}

/// The commands of a batch whose answers clients of this member wait for.
#[derive(Debug, Default)]
enum Wanted {
    /// All of them: [`Replies::want`] was not called.
    #[default]
    All,
    /// Those at these positions. The ranges rise and do not overlap.
    Some(Vec<Range<usize>>),
}

impl Replies {
    /// An empty list with capacity for the answers to `count` commands, all of which are wanted.
    pub fn with_capacity(count: usize) -> Replies {
        Replies { answers: Vec::with_capacity(count), wanted: Wanted::All }
    }

    /// Answers the next command of the batch. An empty answer allocates nothing.
    #[inline]
    pub fn push(&mut self, answer: Bytes) {
        self.answers.push(answer);
    }

    /// Whether the answer to the command at this position of the batch is wanted: whether a client
    /// of this member proposed it and waits for the outcome. Any other answer is discarded, so it
    /// may be empty, but it must still be pushed. Different answers are wanted on different
    /// members, so this must not influence the state.
    ///
    /// A client that left without waiting for its answer may still count as waiting.
    pub fn is_wanted(&self, position: usize) -> bool {
        match &self.wanted {
            Wanted::All => true,
            Wanted::Some(ranges) => {
                let after = ranges.partition_point(|range| range.end <= position);
                ranges.get(after).is_some_and(|range| range.contains(&position))
            }
        }
    }

    /// How many commands have been answered.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether none has been answered.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Sets the positions whose answers are wanted. The ranges rise.
    pub(crate) fn want(&mut self, positions: impl Iterator<Item = Range<usize>>) {
        let mut ranges = match std::mem::take(&mut self.wanted) {
            Wanted::Some(ranges) => ranges,
            Wanted::All => Vec::new(),
        };
        ranges.clear();
        ranges.extend(positions);
        self.wanted = Wanted::Some(ranges);
    }

    pub(crate) fn answers_mut(&mut self) -> &mut Vec<Bytes> {
        &mut self.answers
    }

    /// The answers, in the order of the commands.
    pub fn into_answers(self) -> Vec<Bytes> {
        self.answers
    }
}

/// Why a state machine cannot apply a committed command: the member stops and reports it.
///
/// For example, a newer version of the application wrote the command, or the disk that the state is
/// kept on has failed. The command stays committed: other members may have applied it, and this
/// member applies it once it is started again with the missing version or disk.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Fatal {
    reason: String,
}

impl Fatal {
    /// `reason` names what could not be applied, the cause, and what to do.
    pub fn new(reason: impl Into<String>) -> Fatal {
        Fatal { reason: reason.into() }
    }

    /// There is a snapshot, and the state machine cannot restore it.
    pub(crate) fn no_snapshots() -> Fatal {
        Fatal::new("this state machine restores no snapshots")
    }
}

/// The state of a state machine at one moment, which later commands do not change.
pub trait Snapshot: Send {
    /// Writes the state, on a thread where this may block. The same bytes, given to
    /// [`StateMachine::restore`], give the same state.
    ///
    /// # Errors
    /// The output's error, or that the state cannot be written. The snapshot is then tried again
    /// later, from a newer state; the member goes on.
    fn write_to(self: Box<Self>, out: &mut dyn Write) -> io::Result<()>;
}

/// A deterministic state machine: the same commands in the same order give the same state and the
/// same answers on every member. No clock, randomness or hash order may influence a result.
pub trait StateMachine: Send + 'static {
    /// The last entry whose effect the state machine still has after a restart, if it keeps its
    /// state durably itself; else `None`, and the log is applied to it again from the start.
    fn applied(&self) -> Option<EntryId> {
        None
    }

    /// Applies commands, and pushes exactly one answer for each into `replies`. A client sees only
    /// the answers for which [`Replies::is_wanted`] returns true.
    ///
    /// A command that is merely invalid is answered with an error of the application's own: every
    /// member applies it.
    ///
    /// # Errors
    /// A command cannot be applied. The member stops and reports that reason
    /// ([`crate::NodeStatus::stopped`]), and the state machine is not called again; the clients of
    /// the batch get the answer that the outcome is unknown. A panic has the same effect.
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal>;

    /// Whether [`StateMachine::apply`] returned before the batch was applied. The member does its
    /// other work and then calls `apply` again with the same batch and the replies pushed so far;
    /// `apply` continues where it stopped, after `replies.len()` commands. So a slow command delays
    /// no heartbeat.
    ///
    /// The point at which a call returns must not influence the state. Between the calls, the
    /// member asks no query whose answer the batch could change.
    fn is_unfinished(&self) -> bool {
        false
    }

    /// Answers a query without changing anything. Called only once everything that was committed
    /// when the query arrived has been applied.
    fn read(&self, query: &[u8]) -> Bytes;

    /// Pins the present state, for a snapshot. Returns at once: what takes time is done by
    /// [`Snapshot::write_to`], on another thread, while this state machine applies further
    /// commands. Called between two batches, never while one is unfinished.
    ///
    /// A state machine that takes no snapshots, which is the default, has its whole log applied to
    /// it again at each start, and that log is never purged.
    ///
    /// # Errors
    /// [`Unsupported`](io::ErrorKind::Unsupported): this state machine takes no snapshots, and is
    /// not asked again. Any other error is reported, and the snapshot is tried again if the
    /// limits made it due; the member goes on.
    fn snapshot(&mut self) -> io::Result<Box<dyn Snapshot>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Replaces the state by that of a snapshot, which includes everything up to the entry `last`.
    /// Called on a thread where this may block. The reader checks each byte that it returns, and
    /// reports the end only if the whole snapshot is sound.
    ///
    /// # Errors
    /// The state cannot be restored, for example because a newer version of the application has
    /// written it: the member does not start, and reports that reason.
    fn restore(&mut self, _last: EntryId, _reader: &mut dyn Read) -> Result<(), Fatal> {
        Err(Fatal::no_snapshots())
    }

    /// Whether applying takes so little time (a few microseconds a batch) that it may run between
    /// two steps of the protocol. A state machine that is not cheap runs in a task of its own.
    fn is_cheap(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_wanted_only_where_a_client_waits() {
        let wanted = |replies: &Replies| -> Vec<usize> {
            (0..9).filter(|position| replies.is_wanted(*position)).collect()
        };
        let mut replies = Replies::default();
        assert_eq!(wanted(&replies).len(), 9, "nothing else was requested");
        replies.want([1..3, 3..4, 6..8].into_iter());
        assert_eq!(wanted(&replies), [1, 2, 3, 6, 7]);
        replies.want(std::iter::empty());
        assert_eq!(wanted(&replies), []);
    }
}
