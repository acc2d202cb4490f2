//! Every limit of a member around its protocol, with its number.

use raft_core::storage::MAX_BATCH_BYTES;

/// Limits of queues, batches and waits. Times are in ticks of 10 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes that one command may have. 8 MiB.
    pub command_bytes: u64,
    /// The most bytes of commands that wait at this member for their outcome; more proposers wait
    /// until there is room. A command counts as long as its entry stands in this member's log and its
    /// outcome is not known, also where its client was told before that it is unknown. 64 MiB.
    pub proposal_bytes: u64,
    /// The most commands that wait at this member for their outcome. 65,536.
    pub proposals: u64,
    /// The most reads that wait at this member. 65,536.
    pub reads: u64,
    /// The most bytes of queries that wait at this member. 64 MiB.
    pub read_bytes: u64,
    /// The most payload bytes that one append carries, unless its first entry alone is larger. 1
    /// MiB.
    pub append_bytes: u64,
    /// The most payload bytes that one batch for the machine holds. 4 MiB.
    pub apply_bytes: u64,
    /// The most payload bytes of one write that is merged from several, unless one of them alone is
    /// larger. 4 MiB.
    pub batch_bytes: u64,
    /// The most payload bytes that a leader has appended, or is about to append, and that its disk
    /// has not written. Above it, commands of its own clients wait, and those that other members
    /// forward are refused; nothing happened to them. What comes while the disk is idle is taken
    /// whatever its size. Twice `proposal_bytes`, so that a leader's own clients alone never reach
    /// it. 128 MiB.
    pub unwritten_bytes: u64,
    /// The most commands in one forward; one forward has no more than `append_bytes` either, unless
    /// its first command alone is larger. 4,096.
    pub forward_commands: usize,
    /// The memory that recent entries may take, payloads and what surrounds them, so that neither
    /// peers nor the machine need the store; those that are applied, an eighth of it. Entries that
    /// are not written yet come on top. 32 MiB.
    pub tail_bytes: u64,
    /// The most bytes that peers may have delivered and this member has not taken up. 64 MiB.
    pub inbound_bytes: u64,
    /// After how many ticks a proposal's outcome counts as unknown. 500 (5 s).
    pub proposal_ticks: u64,
    /// After how many ticks a read is given up. 500 (5 s).
    pub read_ticks: u64,
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
            inbound_bytes: 64 << 20,
            proposal_ticks: 500,
            read_ticks: 500,
        }
    }
}
