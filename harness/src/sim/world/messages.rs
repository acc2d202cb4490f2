//! Messages: which rejections correct members may cause, and how messages are printed and hashed.

use raft_node::Content;

/// Whether correct members may cause this rejection, by messages that arrive late or twice.
pub(super) fn may_be_caused_by_correct_members(why: raft_core::consensus::Rejection) -> bool {
    use raft_core::consensus::Rejection;
    !matches!(
        why,
        Rejection::FromSelf
            | Rejection::SecondLeader
            | Rejection::EntryFromTheFuture
            | Rejection::AcknowledgesUnknown
    )
}

/// The hash of an envelope's content.
pub(super) fn content_digest(content: &Content) -> u64 {
    use crate::digest::Digest;
    match content {
        Content::Raft { message, entries } => Digest::of((message, entries)),
        Content::Forward(forward) => {
            Digest::of((forward.term, forward.start, forward.sequence, &forward.commands))
        }
        Content::ForwardAnswer(answer) => {
            Digest::of((answer.start, answer.sequence, answer.appended))
        }
        Content::SessionForward(requests) => Digest::of(requests),
        Content::Snapshot(message) => Digest::of(message),
    }
}

/// An envelope's content as one line of text.
pub(super) struct Line<'a>(pub(super) &'a Content);

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Content::Raft { message, .. } => write!(f, "{message}"),
            Content::Forward(forward) => {
                let count = forward.commands.len();
                let sequence = forward.sequence;
                write!(f, "term {} forward {sequence}: {count} commands", forward.term)
            }
            Content::ForwardAnswer(answer) => match answer.appended {
                Some(first) => write!(f, "forward {} appended at {first}", answer.sequence),
                None => write!(f, "forward {} refused", answer.sequence),
            },
            Content::SessionForward(requests) => write!(f, "{} requests", requests.len()),
            Content::Snapshot(message) => write!(f, "{message}"),
        }
    }
}
