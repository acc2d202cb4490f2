//! etcd's refusals, with etcd's texts.
//!
//! Go clients recognise an error by its text and not by its code alone. So each text here is
//! exactly the one that an etcd 3.4 server sends; the texts of refusals that etcd does not have
//! begin with `kontiki:`. A refused request changed nothing. There are two exceptions: after
//! [`Refusal::TimedOut`] the outcome is unknown, and [`Refusal::CarriedOutButTooLarge`] says that
//! the change was made.

use kontiki::{ProposeError, ReadError};
use thiserror::Error;
use tonic::{Code, Status};

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A request or a compare names no key.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// A put would keep the value or lease of a key that does not exist; or an operation of a
    /// transaction is empty.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// A put gives a value and asks to keep the old one.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// A put gives a lease and asks to keep the old one.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// A transaction has more compares or operations than [`crate::txn::MAX_OPERATIONS`].
    #[error("etcdserver: too many operations in txn request")]
    TooManyOperations,
    /// A transaction would write a key twice.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// The requested revision was compacted.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// The requested revision does not exist yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// No such lease.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// The request has more bytes than [`crate::command::MAX_REQUEST_BYTES`].
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    /// A transaction's compares examine more keys than [`crate::txn::MAX_COMPARED_KEYS`]. etcd has
    /// no such limit.
    #[error("kontiki: the compares of the transaction examine too many keys")]
    TooManyCompared,
    /// The deletions of a transaction examine more keys than [`crate::txn::MAX_DELETED_KEYS`]. etcd
    /// has no such limit.
    #[error("kontiki: the transaction deletes too many keys; delete them by a separate request")]
    TooManyDeleted,
    /// An answer has more bytes than [`crate::range::MAX_ANSWER_BYTES`]. etcd has no such limit.
    #[error("kontiki: the answer is too large; ask for fewer keys at a time, with a limit")]
    AnswerTooLarge,
    /// As [`Refusal::AnswerTooLarge`], for a request that also changed something.
    #[error("kontiki: the request was carried out, but its answer is too large to be sent")]
    CarriedOutButTooLarge,
    /// The key space is full: an alarm is raised until an operator disarms it.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// No leader is known, so nothing can be committed; retry.
    #[error("etcdserver: no leader")]
    NoLeader,
    /// Too many requests are waiting; retry later.
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    /// No answer came in time. A change may have happened, or may still happen.
    #[error("etcdserver: request timed out")]
    TimedOut,
    /// The member has stopped.
    #[error("etcdserver: server stopped")]
    Stopped,
    /// This member does not lead, so it does not change the membership. Ask the leader.
    #[error("etcdserver: not leader")]
    NotLeader,
    /// The leader changed before the change of the membership was made. What was done of it before
    /// stays.
    #[error("etcdserver: leader changed")]
    LeaderChanged,
    /// No member has this id.
    #[error("etcdserver: member not found")]
    MemberNotFound,
    /// Another member has this peer address.
    #[error("etcdserver: Peer URLs already exists")]
    PeerUrlExists,
    /// A URL of a member cannot be read, or there is not exactly one.
    #[error("etcdserver: given member URLs are invalid")]
    BadMemberUrls,
    /// The member to be promoted votes already.
    #[error("etcdserver: can only promote a learner member")]
    NotALearner,
    /// The learner to be promoted has not received the log yet.
    #[error("etcdserver: can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    /// After the change too few voters would answer, or it is not known what their programs read.
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    /// Too few members answer to commit the change, which is in the log.
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    /// There is no authentication, so none is needed.
    #[error("etcdserver: authentication is not enabled")]
    AuthNotEnabled,
}

/// Every refusal that applying a command can return, with its number in an answer of the
/// [`crate::Machine`].
const NUMBERED: [(u8, Refusal); 6] = [
    (1, Refusal::KeyNotFound),
    (2, Refusal::LeaseNotFound),
    (3, Refusal::Compacted),
    (4, Refusal::FutureRevision),
    (5, Refusal::TooManyCompared),
    (6, Refusal::NoSpace),
];

impl Refusal {
    /// The gRPC code that etcd sends with this text.
    pub const fn code(self) -> Code {
        match self {
            Refusal::EmptyKey
            | Refusal::KeyNotFound
            | Refusal::ValueProvided
            | Refusal::LeaseProvided
            | Refusal::TooManyOperations
            | Refusal::DuplicateKey
            | Refusal::TooManyCompared
            | Refusal::TooManyDeleted
            | Refusal::RequestTooLarge
            | Refusal::BadMemberUrls => Code::InvalidArgument,
            Refusal::Compacted | Refusal::FutureRevision => Code::OutOfRange,
            Refusal::LeaseNotFound | Refusal::MemberNotFound => Code::NotFound,
            Refusal::AuthNotEnabled
            | Refusal::NotLeader
            | Refusal::PeerUrlExists
            | Refusal::NotALearner
            | Refusal::LearnerNotReady
            | Refusal::NotEnoughStarted => Code::FailedPrecondition,
            Refusal::TooManyRequests
            | Refusal::NoSpace
            | Refusal::AnswerTooLarge
            | Refusal::CarriedOutButTooLarge => Code::ResourceExhausted,
            Refusal::NoLeader
            | Refusal::TimedOut
            | Refusal::Stopped
            | Refusal::LeaderChanged
            | Refusal::Unhealthy => Code::Unavailable,
        }
    }

    /// The number of this refusal in a machine's answer.
    ///
    /// # Panics
    ///
    /// If applying a command returned a refusal that only a service may return: a bug in this
    /// crate.
    pub(crate) fn number(self) -> u8 {
        let numbered = NUMBERED.iter().find(|(_, refusal)| *refusal == self);
        numbered.unwrap_or_else(|| panic!("applying a command must not answer: {self}")).0
    }

    /// The refusal with this number.
    pub(crate) fn from_number(number: u8) -> Option<Refusal> {
        NUMBERED.iter().find(|(known, _)| *known == number).map(|(_, refusal)| *refusal)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        Status::new(refusal.code(), refusal.to_string())
    }
}

impl From<ProposeError> for Refusal {
    fn from(error: ProposeError) -> Refusal {
        match error {
            ProposeError::NotLeader { .. } => Refusal::NoLeader,
            ProposeError::Busy => Refusal::TooManyRequests,
            ProposeError::TooLarge { .. } => Refusal::RequestTooLarge,
            ProposeError::Closed => Refusal::Stopped,
            // An error that a later version adds may mean anything, so the outcome counts as
            // unknown.
            _ => Refusal::TimedOut,
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Refusal {
        match error {
            ReadError::NotLeader { .. } => Refusal::NoLeader,
            ReadError::Busy => Refusal::TooManyRequests,
            ReadError::Closed => Refusal::Stopped,
            _ => Refusal::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_decodes_to_its_refusal() {
        for (number, refusal) in NUMBERED {
            assert_eq!(refusal.number(), number);
            assert_eq!(Refusal::from_number(number), Some(refusal));
        }
        assert_eq!(Refusal::from_number(0), None);
    }

    #[test]
    fn an_unknown_outcome_is_never_reported_as_a_plain_refusal() {
        assert_eq!(Refusal::from(ProposeError::Unknown), Refusal::TimedOut);
        assert_eq!(Refusal::from(ProposeError::Busy), Refusal::TooManyRequests);
    }
}
