//! What members say to each other: one variant per remote procedure call and its response.
//!
//! Each message carries its sender's current term (section 5.1 of the paper); who sent it and to
//! whom is told beside it. A field that means nothing for a variant does not exist. Payloads are
//! not here: an append names its entries by their ids, and whoever moves bytes puts the payloads
//! beside the message.

use core::fmt;

use crate::types::{EntryId, LogIndex, LogSpan, Term};

/// One message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The sender's current term.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Would you vote for me in the term after mine? Asks without raising anybody's term (thesis,
    /// section 9.6).
    PreVote {
        /// The candidate's last entry.
        last: EntryId,
    },
    /// The answer to a [`Body::PreVote`]; promises nothing.
    PreVoteResponse {
        /// The asker's term when it asked, so that an answer to an earlier question is not counted.
        asked: Term,
        /// Whether the vote would be granted.
        granted: bool,
    },
    /// Vote for me in this term (RequestVote, section 5.2).
    Vote {
        /// The candidate's last entry.
        last: EntryId,
    },
    /// The answer to a [`Body::Vote`].
    VoteResponse {
        /// Whether the vote is given.
        granted: bool,
    },
    /// Entries to append after the one they name (AppendEntries, section 5.3). Without entries it
    /// is a heartbeat.
    Append {
        /// Which entries, after which one.
        span: LogSpan,
        /// The leader's commit index.
        commit: LogIndex,
        /// The leader's newest round of asking who still follows it.
        round: Round,
    },
    /// The answer to a [`Body::Append`].
    AppendResponse {
        /// What the follower made of it.
        verdict: Verdict,
        /// The newest round that the follower has seen in this term.
        round: Round,
    },
    /// From which index may I serve a read? (thesis, section 6.4; a follower asks its leader)
    ReadIndex {
        /// The asker's name for the read.
        read: ReadId,
    },
    /// The answer to a [`Body::ReadIndex`].
    ReadIndexResponse {
        /// The asker's name for the read.
        read: ReadId,
        /// The index that must be applied before the read is served.
        index: LogIndex,
    },
}

/// What a follower made of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The follower's log is the leader's up to here, and durable: the lesser of what it has
    /// verified and what its disk has kept (law L6).
    Accepted {
        /// The match index.
        matched: LogIndex,
    },
    /// The follower's log does not have the entry before the span.
    Conflict {
        /// The index of that entry, so that an answer to an earlier append is not taken for this
        /// one's.
        refused: LogIndex,
        /// The follower's last entry that may yet match: the last one before the refused index
        /// whose term is not above the refused entry's term.
        hint: EntryId,
    },
}

/// Counts, within one leadership, the times a leader asked who still follows it. A majority that
/// has answered in round n proves that it led when round n began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u64);

/// A member's name for one read, or for a group of reads that share it; unique in its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

impl Message {
    /// A message from a member whose current term this is.
    pub const fn new(term: Term, body: Body) -> Message {
        Message { term, body }
    }

    /// The span of an append, with or without entries.
    pub fn span(&self) -> Option<&LogSpan> {
        match &self.body {
            Body::Append { span, .. } => Some(span),
            _ => None,
        }
    }
}

/// The line of a trace.
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
            Body::Vote { last } => write!(f, "vote? last {last}"),
            Body::VoteResponse { granted } => write!(f, "vote {}", yes_or_no(*granted)),
            Body::Append { span, commit, round } => {
                write!(f, "append {span} commit {commit} round {}", round.0)
            }
            Body::AppendResponse { verdict, round } => write!(f, "{verdict} round {}", round.0),
            Body::ReadIndex { read } => write!(f, "read-index? {}", read.0),
            Body::ReadIndexResponse { read, index } => {
                write!(f, "read-index {} at {index}", read.0)
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
