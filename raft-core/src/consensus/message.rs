//! The messages between members: one variant per remote procedure call and its response.
//!
//! Each message carries its sender's current term (section 5.1 of the paper); the sender and the
//! receiver are passed separately. Each variant has only the fields that it uses. Messages hold no
//! payloads: an append names its entries by their ids, and the pump sends the payloads beside the
//! message.

use core::fmt;

use crate::types::{EntryId, LogIndex, LogSpan, Term};

/// The greatest term and index that a message may carry. No cluster reaches it in operation (at a
/// million entries per second that would take 146,000 years), so a greater number is a peer's
/// error, and accepting it could make the arithmetic of terms and indexes overflow (law L16).
pub const MAX_NUMBER: u64 = 1 << 62;

/// One message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The sender's current term.
    pub term: Term,
    /// The request or response.
    pub body: Body,
}

/// The request or response that a message carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Asks whether the receiver would vote for the sender in the next term, without raising the
    /// receiver's term (thesis, section 9.6).
    PreVote {
        /// The candidate's last entry.
        last: EntryId,
    },
    /// The answer to a [`Body::PreVote`]; it binds the sender to nothing.
    PreVoteResponse {
        /// The asker's term when it asked, so that an answer to an earlier question is not counted.
        asked: Term,
        /// Whether the vote would be granted.
        granted: bool,
    },
    /// Asks for the receiver's vote in this term (RequestVote, section 5.2).
    Vote {
        /// The candidate's last entry.
        last: EntryId,
        /// Whether the leader itself asked for this election (thesis, section 3.10): then the
        /// receiver answers although it hears a leader.
        in_transfer: bool,
    },
    /// The answer to a [`Body::Vote`].
    VoteResponse {
        /// Whether the vote is given.
        granted: bool,
    },
    /// Entries to append after the one they name (AppendEntries, section 5.3). Without entries it
    /// is a heartbeat.
    Append {
        /// The ids of the entries, and of the entry before them.
        span: LogSpan,
        /// The leader's commit index.
        commit: LogIndex,
        /// The newest round in which the leader asked which members still follow it.
        round: Round,
    },
    /// The answer to a [`Body::Append`].
    AppendResponse {
        /// Whether the follower accepted the append.
        verdict: Verdict,
        /// The newest round that the follower has seen in this term.
        round: Round,
    },
    /// A follower asks its leader from which index it may serve a read (thesis, section 6.4).
    ReadIndex {
        /// The asker's name for the read.
        read: ReadId,
        /// Whether the leader may answer by its lease, if it has one.
        by_lease: bool,
    },
    /// The answer to a [`Body::ReadIndex`].
    ReadIndexResponse {
        /// The asker's name for the read.
        read: ReadId,
        /// The index that must be applied before the read is served.
        index: LogIndex,
    },
    /// The leader asks the receiver to campaign at once (thesis, section 3.10).
    TimeoutNow,
    /// The sender, which has heard the receiver as its leader in this round, votes for no other
    /// member for this long (thesis, section 6.4.1).
    Promise {
        /// The newest round that the sender has heard.
        round: Round,
        /// For how long, in microseconds on the sender's clock, since it heard the round.
        micros: u64,
    },
}

/// Whether a follower accepted an append, and up to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The follower's log is the leader's up to here, and durable: the lesser of what it has
    /// verified and what is durable there (law L6).
    Accepted {
        /// The match index.
        matched: LogIndex,
    },
    /// The follower's log does not have the entry before the span.
    Conflict {
        /// The index of that entry, so that the leader does not mistake an answer to an earlier
        /// append for the answer to this one.
        refused: LogIndex,
        /// The follower's last entry that may yet match: the last one before the refused index
        /// whose term is not above the refused entry's term.
        hint: EntryId,
    },
}

/// A count, within one leadership, of how often the leader asked which members still follow it. If
/// a majority has answered in round n, the leader still led when round n began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u64);

/// A member's name for one read, or for a group of reads that share it. A member never uses a name
/// again, not even after a restart: otherwise an answer still on its way could be mistaken for the
/// answer to the new read, although its index may be older than what that read must see (law L15).
/// So a process starts to count at a random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

impl Message {
    /// A message from a member whose current term is `term`.
    pub const fn new(term: Term, body: Body) -> Message {
        Message { term, body }
    }

    /// Whether every term and index in it is at most [`MAX_NUMBER`].
    pub fn is_in_range(&self) -> bool {
        let EntryId { term, index } = self.body.greatest();
        self.term.max(term).get() <= MAX_NUMBER && index.get() <= MAX_NUMBER
    }

    /// The span of an append, with or without entries.
    pub fn span(&self) -> Option<&LogSpan> {
        match &self.body {
            Body::Append { span, .. } => Some(span),
            _ => None,
        }
    }
}

impl Body {
    /// The greatest term and the greatest index in it.
    fn greatest(&self) -> EntryId {
        let at = |index| EntryId::new(Term::ZERO, index);
        match self {
            Body::PreVote { last } | Body::Vote { last, .. } => *last,
            Body::PreVoteResponse { asked, .. } => EntryId::new(*asked, LogIndex::ZERO),
            Body::Append { span, commit, .. } => {
                EntryId::new(span.last_id().term, span.last().max(*commit))
            }
            Body::AppendResponse { verdict: Verdict::Accepted { matched }, .. } => at(*matched),
            Body::AppendResponse { verdict: Verdict::Conflict { refused, hint }, .. } => {
                EntryId::new(hint.term, hint.index.max(*refused))
            }
            Body::ReadIndexResponse { index, .. } => at(*index),
            Body::VoteResponse { .. }
            | Body::ReadIndex { .. }
            | Body::TimeoutNow
            | Body::Promise { .. } => EntryId::ZERO,
        }
    }
}

/// The message as one line of a trace.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term {} {}", self.term, self.body)
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes_or_no = |granted| if granted { "granted" } else { "refused" };
        match self {
            Body::PreVote { last } => write!(f, "pre-vote? last {last}"),
            Body::PreVoteResponse { asked, granted } => {
                write!(f, "pre-vote {} asked in {asked}", yes_or_no(*granted))
            }
            Body::Vote { last, in_transfer } => {
                let why = if *in_transfer { " in a transfer" } else { "" };
                write!(f, "vote? last {last}{why}")
            }
            Body::VoteResponse { granted } => write!(f, "vote {}", yes_or_no(*granted)),
            Body::Append { span, commit, round } => {
                write!(f, "append {span} commit {commit} round {}", round.0)
            }
            Body::AppendResponse { verdict, round } => write!(f, "{verdict} round {}", round.0),
            Body::ReadIndex { read, by_lease } => {
                let how = if *by_lease { " by lease" } else { "" };
                write!(f, "read-index? {}{how}", read.0)
            }
            Body::ReadIndexResponse { read, index } => {
                write!(f, "read-index {} at {index}", read.0)
            }
            Body::TimeoutNow => f.write_str("timeout-now"),
            Body::Promise { round, micros } => {
                write!(f, "promise for {} ms since round {}", micros / 1000, round.0)
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accepted { matched } => write!(f, "accepted up to {matched}"),
            Verdict::Conflict { refused, hint } => write!(f, "conflict at {refused} hint {hint}"),
        }
    }
}
