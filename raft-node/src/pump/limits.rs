//! Every limit of a member outside its protocol, with its default.

use raft_core::storage::MAX_BATCH_BYTES;
use thiserror::Error;

use crate::sessions::SESSION_HEADER_BYTES;

/// The most payload bytes of one envelope that a transport must be able to carry: 64 MiB. An entry
/// that does not fit could be committed here and never reach a peer.
pub const MAX_ENVELOPE_BYTES: u64 = 64 << 20;

/// The most entries or commands in one envelope that a transport must be able to carry.
pub const MAX_ENVELOPE_ENTRIES: usize = 1 << 16;

/// The most bytes that a command may have, so that its entry fits into an envelope with the header
/// of a request of a session.
const MAX_COMMAND_BYTES: u64 = MAX_ENVELOPE_BYTES - SESSION_HEADER_BYTES as u64;

/// The most requests of a session that may wait for their answers.
pub const MAX_SESSION_WINDOW: u64 = 1 << 16;

/// The most bytes of answers that a session may keep: 16 MiB.
pub const MAX_SESSION_ANSWER_BYTES: u64 = 16 << 20;

/// Limits of queues, batches and waits. Times are in ticks of 10 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes that one command may have; by default 8 MiB, and at most 64 MiB less 33
    /// bytes.
    pub command_bytes: u64,
    /// The most bytes of commands that wait at this member for their outcome; more proposers wait
    /// until earlier ones are answered, or until no leader is known. A command counts as long as
    /// its entry is in this member's log and its outcome is not known, even after its client was
    /// answered that the outcome is unknown. By default 64 MiB.
    pub proposal_bytes: u64,
    /// The most commands that wait at this member for their outcome; by default 65,536.
    pub proposals: u64,
    /// The most reads that wait at this member; by default 65,536.
    pub reads: u64,
    /// The most bytes of queries that wait at this member; by default 64 MiB.
    pub read_bytes: u64,
    /// The most payload bytes that one append carries, unless its first entry alone is larger; by
    /// default 1 MiB.
    pub append_bytes: u64,
    /// The most payload bytes that one batch for the state machine holds; by default 4 MiB.
    pub apply_bytes: u64,
    /// The most payload bytes of one write that is merged from several, unless one of them alone is
    /// larger; by default 4 MiB.
    pub batch_bytes: u64,
    /// The most payload bytes that a leader has appended, or is about to append, and that its disk
    /// has not written. Above it, commands of its own clients wait, and those that other members
    /// forward are refused before anything happens to them. What arrives while the disk is idle is
    /// accepted whatever its size. By default 128 MiB, twice the default of `proposal_bytes`, so
    /// that a leader's own clients alone never reach it.
    pub unwritten_bytes: u64,
    /// The most commands in one forward; one forward has no more than `append_bytes` either, unless
    /// its first command alone is larger; by default 4,096.
    pub forward_commands: usize,
    /// The memory that recent entries may take, overhead included, so that neither peers nor the
    /// state machine need the store. Entries that are applied may take an eighth of it. Entries
    /// that are not written yet stay in memory even above it. By default 32 MiB.
    pub tail_bytes: u64,
    /// After how many applied entries a snapshot is taken. Where the last snapshot is larger than
    /// `snapshot_bytes`, only bytes count. By default 1,000,000.
    pub snapshot_entries: u64,
    /// After how many payload bytes of applied entries a snapshot is taken; or after half the bytes
    /// of the last snapshot, if that is more. By default 64 MiB.
    pub snapshot_bytes: u64,
    /// How many entries before the end of the newest snapshot stay in the log, so that a peer that
    /// lags behind a little needs no snapshot; by default 10,000. With `u64::MAX` the log is never
    /// purged.
    pub kept_entries: u64,
    /// How many payload bytes of entries a leader keeps at most for peers that still need them, or
    /// that receive a snapshot, or as many as the newest snapshot has, if that is more; by default
    /// 1 GiB. The `kept_entries` are kept whatever their bytes, and what was in the log before the
    /// member started does not count.
    pub held_back_bytes: u64,
    /// The most bytes of a snapshot file in one message; by default 1 MiB.
    pub snapshot_chunk_bytes: u32,
    /// How many bytes of snapshot files a member sends in a second at most; by default 64 MiB.
    pub snapshot_bytes_per_second: u64,
    /// How many peers a member sends snapshots to at the same time at most; by default 2.
    pub snapshot_streams: usize,
    /// How often a read of entries from the store is tried before the member stops; by default 8
    /// times, in 1.3 s. The pause before the next attempt doubles from one tick.
    pub read_attempts: u32,
    /// The most bytes of envelopes that have arrived and wait for a turn; by default 64 MiB.
    pub inbound_bytes: u64,
    /// After how many ticks a proposal's outcome counts as unknown; by default 500 (5 s).
    pub proposal_ticks: u64,
    /// After how many ticks a read is given up; by default 500 (5 s).
    pub read_ticks: u64,
    /// How many sessions may be open in the cluster when a client of this member opens one; by
    /// default 1,024.
    pub sessions: u32,
    /// After how many ticks without a request the sessions expire that clients of this member open,
    /// in log time: ticks during which a member leads. By default 60,000 (10 minutes).
    pub session_ticks: u64,
    /// How many requests of such a session may wait for their answers; by default 256.
    pub session_window: u32,
    /// How many bytes of answers such a session keeps until they are acknowledged; by default 64
    /// KiB.
    pub session_answer_bytes: u32,
    /// For how many ticks a change of the membership waits without progress; by default 1,000 (10
    /// s).
    pub change_ticks: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            command_bytes: 8 << 20,
            proposal_bytes: 64 << 20,
            proposals: 65_536,
            reads: 65_536,
            read_bytes: 64 << 20,
            append_bytes: 1 << 20,
            apply_bytes: 4 << 20,
            batch_bytes: MAX_BATCH_BYTES,
            unwritten_bytes: 128 << 20,
            forward_commands: 4096,
            tail_bytes: 32 << 20,
            snapshot_entries: 1_000_000,
            snapshot_bytes: 64 << 20,
            kept_entries: 10_000,
            held_back_bytes: 1 << 30,
            snapshot_chunk_bytes: 1 << 20,
            snapshot_bytes_per_second: 64 << 20,
            snapshot_streams: 2,
            read_attempts: 8,
            inbound_bytes: 64 << 20,
            proposal_ticks: 500,
            read_ticks: 500,
            sessions: 1024,
            session_ticks: 60_000,
            session_window: 256,
            session_answer_bytes: 64 << 10,
            change_ticks: 1000,
        }
    }
}

/// Why limits cannot work. Nothing was started; correct them and try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LimitsError {
    /// With this limit at zero the member could do nothing.
    #[error("the limit {0} must be at least 1")]
    Zero(&'static str),
    /// A limit is above what stores or transports carry.
    #[error("the limit {name} is {value}, and must be at most {most}")]
    TooLarge {
        /// The limit.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The most that it may be.
        most: u64,
    },
}

impl Limits {
    /// Refuses limits with which a member would wait for ever, or would commit entries that can
    /// never reach its peers.
    pub fn check(&self) -> Result<(), LimitsError> {
        let at_least_one = [
            ("command_bytes", self.command_bytes),
            ("proposal_bytes", self.proposal_bytes),
            ("proposals", self.proposals),
            ("reads", self.reads),
            ("read_bytes", self.read_bytes),
            ("append_bytes", self.append_bytes),
            ("apply_bytes", self.apply_bytes),
            ("batch_bytes", self.batch_bytes),
            ("unwritten_bytes", self.unwritten_bytes),
            ("forward_commands", self.forward_commands as u64),
            ("snapshot_entries", self.snapshot_entries),
            ("snapshot_bytes", self.snapshot_bytes),
            ("snapshot_chunk_bytes", self.snapshot_chunk_bytes.into()),
            ("snapshot_bytes_per_second", self.snapshot_bytes_per_second),
            ("snapshot_streams", self.snapshot_streams as u64),
            ("read_attempts", u64::from(self.read_attempts)),
            ("inbound_bytes", self.inbound_bytes),
            ("proposal_ticks", self.proposal_ticks),
            ("read_ticks", self.read_ticks),
            ("change_ticks", self.change_ticks),
            ("sessions", self.sessions.into()),
            ("session_ticks", self.session_ticks),
            ("session_window", self.session_window.into()),
        ];
        if let Some((name, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(LimitsError::Zero(name));
        }
        let at_most = [
            ("command_bytes", self.command_bytes, MAX_COMMAND_BYTES),
            ("append_bytes", self.append_bytes, MAX_ENVELOPE_BYTES),
            ("batch_bytes", self.batch_bytes, MAX_BATCH_BYTES),
            ("snapshot_chunk_bytes", self.snapshot_chunk_bytes.into(), MAX_ENVELOPE_BYTES),
            ("forward_commands", self.forward_commands as u64, MAX_ENVELOPE_ENTRIES as u64),
            ("session_window", self.session_window.into(), MAX_SESSION_WINDOW),
            ("session_answer_bytes", self.session_answer_bytes.into(), MAX_SESSION_ANSWER_BYTES),
        ];
        match at_most.iter().find(|(_, value, most)| value > most) {
            Some(&(name, value, most)) => Err(LimitsError::TooLarge { name, value, most }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::types::LogIndex;

    use super::*;
    use crate::sessions::{SessionId, SessionRequest, encode_request};

    #[test]
    fn the_defaults_can_work() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    /// What went wrong: a command above the transport's limit was committed and never reached a
    /// peer.
    #[test]
    fn limits_that_cannot_work_are_refused_by_name() {
        let most = MAX_COMMAND_BYTES;
        let command_bytes = most + 1;
        let limits = Limits { command_bytes, ..Limits::default() };
        let too_large = LimitsError::TooLarge { name: "command_bytes", value: command_bytes, most };
        assert_eq!(limits.check(), Err(too_large));
        let limits = Limits { forward_commands: 0, ..Limits::default() };
        assert_eq!(limits.check(), Err(LimitsError::Zero("forward_commands")));
    }

    /// What went wrong: a command of the greatest size was committed, and its entry, which has the
    /// header of a session, was larger than any envelope.
    #[test]
    fn the_largest_command_of_a_session_fits_into_an_envelope() {
        let fits = |command_bytes| Limits { command_bytes, ..Limits::default() }.check().is_ok();
        let largest = (0..100).map(|less| MAX_ENVELOPE_BYTES - less).find(|bytes| fits(*bytes));
        let command = Bytes::from(vec![0; largest.expect("some size fits") as usize]);
        let session = SessionId(LogIndex::new(1));
        let request = SessionRequest::Run { session, number: 1, acknowledged_below: 1, command };
        assert_eq!(encode_request(&request).len() as u64, MAX_ENVELOPE_BYTES);
    }
}
