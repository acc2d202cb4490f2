//! The state that a log keeps beside its entries, and the checkpoint that repeats it in each
//! segment.

use raft_core::storage::record::{
    Unreadable, decode_hard_state, decode_identity, encode_hard_state, encode_identity,
};
use raft_core::types::{EntryId, HardState, Identity, LogIndex};

use crate::format::{get_u32, get_u64, id_at, put_id, put_u32, put_u64};

const FIXED_BYTES: usize = 32;

/// The state beside the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) hard_state: HardState,
    pub(crate) identity: Option<Identity>,
    /// The highest index that is known to be committed since the last reset. Invariant: not above
    /// the last entry.
    pub(crate) commit_hint: LogIndex,
}

/// The payload of a checkpoint: the state that would be lost with the previous segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) boundary: EntryId,
    /// Where the frames of the previous segment end; 0 in segment 1.
    pub(crate) previous_end: u64,
    pub(crate) hard_state: HardState,
    pub(crate) identity: Option<Identity>,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let hard_state = encode_hard_state(self.hard_state);
        let identity = self.identity.as_ref().map(encode_identity).unwrap_or_default();
        let mut bytes = vec![0; FIXED_BYTES];
        put_id(&mut bytes, 0, self.boundary);
        put_u64(&mut bytes, 16, self.previous_end);
        put_u32(&mut bytes, 24, hard_state.len() as u32 | (identity.len() as u32) << 16);
        bytes.extend(hard_state);
        bytes.extend(identity);
        bytes
    }

    /// The checkpoint in these bytes, whose checksum holds.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Checkpoint, Unreadable> {
        if bytes.len() < FIXED_BYTES {
            return Err(Unreadable::Damaged);
        }
        Unreadable::check_reserved(&bytes[28..32], "a checkpoint with bytes that were reserved")?;
        let lengths = get_u32(bytes, 24);
        let rest = &bytes[FIXED_BYTES..];
        let parts = rest.split_at_checked((lengths & 0xffff) as usize);
        let (hard_state, identity) = parts.ok_or(Unreadable::Damaged)?;
        if identity.len() != (lengths >> 16) as usize {
            return Err(Unreadable::Damaged);
        }
        Ok(Checkpoint {
            boundary: id_at(bytes, 0),
            previous_end: get_u64(bytes, 16),
            hard_state: decode_hard_state(hard_state)?,
            identity: match identity {
                [] => None,
                bytes => Some(decode_identity(bytes)?),
            },
        })
    }
}
