//! The complete list of inputs of a member.
//!
//! Time and randomness are inputs, too. The same inputs in the same order give the same outputs,
//! byte for byte, so a simulator can replay a failure from its seed.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::message::{Message, ReadId};
use super::output::{SendId, WriteSeq};
use super::time::Time;
use crate::types::{EntryId, LogIndex, Membership, NodeId};

/// One thing that happens to a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A tick: what is done at intervals may be due. Ticks are [`TICK_MICROS`](super::TICK_MICROS)
    /// apart, but a member that was paused gets one tick, not all those that it missed.
    Tick {
        /// What the member's clock shows.
        now: Time,
    },
    /// The clock was read, without a tick. A member's driver reads the clock after it has taken
    /// what arrived, and before it steps any of that: so whatever is stepped next happened before
    /// `now`.
    Clock {
        /// What the member's clock shows.
        now: Time,
    },
    /// The election timer is to fire after this many more ticks, instead of at random; for traces
    /// and exhaustive searches, which choose each timeout.
    ElectionTimeout {
        /// Ticks from now; at least one.
        after: u32,
    },
    /// A peer's message arrived.
    Message {
        /// The sender, from the transport's handshake.
        from: NodeId,
        /// The message.
        message: Message,
        /// The memberships among the entries of an append, by value.
        memberships: Vec<(LogIndex, Arc<Membership>)>,
    },
    /// Clients propose commands. Answered by a write whose source is the proposals, or by a
    /// refusal.
    Propose {
        /// The number of commands; at least one.
        count: u64,
        /// The followers that forwarded some of them, and wait for their commit.
        origins: Vec<NodeId>,
    },
    /// A client wants to read the current state. A follower asks its leader about one read at a
    /// time, and refuses any other meanwhile; reads that arrive while one is open share the next.
    ReadIndex {
        /// The name that the answer carries.
        read: ReadId,
        /// Whether the leader may answer by its lease, if it has one.
        by_lease: bool,
    },
    /// This member is asked to hand its leadership over to another one. Answered by a refusal; or,
    /// if the transfer does not succeed in time, by [`Output::TransferAbandoned`]. It has succeeded
    /// once this member follows the other one.
    ///
    /// [`Output::TransferAbandoned`]: super::Output::TransferAbandoned
    Transfer {
        /// The member that is to lead.
        to: NodeId,
    },
    /// This member is asked to change the membership. Answered by a write whose source is the next
    /// membership, or by a refusal. If the voters differ, that membership is joint, and this
    /// leader, or the next one, leaves it by itself once it is committed.
    ChangeMembership {
        /// The membership to come. Stores that are known, and the greatest id that was used, are
        /// added by the leader.
        target: Arc<Membership>,
    },
    /// A durable snapshot, or the state machine's own files, include everything up to an entry: the
    /// log may be purged up to it. Answered by a write, unless the log was purged that far before.
    Purge {
        /// The last entry that may be removed. Invariant: it is applied here.
        upto: LogIndex,
    },
    /// The state machine was restored from a durable snapshot of another member. If the log holds
    /// the snapshot's last entry, the log is purged up to that entry; otherwise the whole log is
    /// replaced. A snapshot that includes nothing new changes nothing.
    Install {
        /// The member that sent it.
        from: NodeId,
        /// The last entry that the snapshot includes.
        last: EntryId,
        /// The membership in force at that entry.
        membership: Arc<Membership>,
    },
    /// The store has made durable every write up to this one.
    Durable {
        /// The newest durable write.
        seq: WriteSeq,
    },
    /// Entries were handed to the transport.
    Sent {
        /// The receiver.
        to: NodeId,
        /// Which send.
        send: SendId,
        /// The last entry that was sent; a limit of bytes may have shortened the send.
        upto: LogIndex,
        /// The payload bytes that were sent.
        bytes: u64,
    },
    /// Entries were not handed to the transport.
    NotSent {
        /// The receiver.
        to: NodeId,
        /// Which send.
        send: SendId,
        /// The reason.
        why: NotSent,
    },
}

/// Why entries were not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotSent {
    /// The entries read were not the ones named: the log was rewritten meanwhile. They are sent
    /// again after the next heartbeat is answered.
    Rewritten,
    /// The entries were purged. Only a snapshot can help the peer.
    Compacted,
}
