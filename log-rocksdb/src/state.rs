//! The state record: everything that the log stores beside its entries, in a fixed number of bytes.
//!
//! Each batch rewrites it with the next batch number, as the batch's first record. So the batches
//! in a write-ahead log can be distinguished without RocksDB's help.

use raft_core::storage::LogBounds;
use raft_core::storage::record::{
    Unreadable, decode_hard_state, decode_identity, encode_hard_state, encode_identity,
};
use raft_core::types::{EntryId, HardState, Identity, LogIndex, Term};

/// The length of a state record.
pub(crate) const STATE_BYTES: usize = 164;
/// The version of the stored format.
pub(crate) const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 4] = *b"KTKR";
const HARD_STATE: std::ops::Range<usize> = 84..116;
const IDENTITY: std::ops::Range<usize> = 116..160;
const CHECKSUM: usize = 160;

/// The data that the log stores beside its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// A random number that all records of one log share.
    pub(crate) directory: u64,
    /// The number of batches so far.
    pub(crate) batch: u64,
    pub(crate) bounds: LogBounds,
    /// The highest index that is known to be committed since the last reset. Logs of the first
    /// builds may have one beyond the last entry.
    pub(crate) commit_hint: LogIndex,
    /// No entry is stored below this index. Entries from here up to the boundary are purged, and
    /// wait for their deletion.
    pub(crate) oldest_stored: LogIndex,
    /// The numbers of runs and of memberships among the marks.
    pub(crate) marks: [u32; 2],
    pub(crate) hard_state: HardState,
    pub(crate) identity: Option<Identity>,
}

impl State {
    /// The state of a log before its first write.
    pub(crate) fn blank(directory: u64) -> State {
        State {
            directory,
            batch: 0,
            bounds: LogBounds::default(),
            commit_hint: LogIndex::ZERO,
            oldest_stored: LogIndex::new(1),
            marks: [0, 0],
            hard_state: HardState::default(),
            identity: None,
        }
    }

    pub(crate) fn encode(&self) -> [u8; STATE_BYTES] {
        let mut bytes = [0; STATE_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        let LogBounds { boundary, last } = self.bounds;
        let numbers = [
            self.batch,
            self.directory,
            boundary.term.get(),
            boundary.index.get(),
            last.term.get(),
            last.index.get(),
            self.commit_hint.get(),
            self.oldest_stored.get(),
        ];
        for (place, number) in bytes[8..72].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        for (place, count) in bytes[72..80].chunks_exact_mut(4).zip(self.marks) {
            place.copy_from_slice(&count.to_le_bytes());
        }
        let hard_state = encode_hard_state(self.hard_state);
        let identity = self.identity.as_ref().map(encode_identity).unwrap_or_default();
        bytes[80] = hard_state.len() as u8;
        bytes[81] = identity.len() as u8;
        bytes[HARD_STATE][..hard_state.len()].copy_from_slice(&hard_state);
        bytes[IDENTITY][..identity.len()].copy_from_slice(&identity);
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM]);
        bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The state in these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<State, Unreadable> {
        let bytes: &[u8; STATE_BYTES] = bytes.try_into().map_err(|_| Unreadable::Damaged)?;
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let id = |at: usize| EntryId::new(Term::new(number(at)), LogIndex::new(number(at + 8)));
        let is_sound = small(bytes, CHECKSUM) == crc32c::crc32c(&bytes[..CHECKSUM]);
        if !is_sound || bytes[..4] != MAGIC {
            return Err(Unreadable::Damaged);
        }
        if State::version(bytes) != Some(FORMAT_VERSION) {
            return Err(Unreadable::Newer("a state record of another version"));
        }
        let reserved = "a state record with bytes that were reserved";
        let [hard_state, identity] =
            [(HARD_STATE, bytes[80]), (IDENTITY, bytes[81])].map(|(area, length)| {
                bytes[area].split_at_checked(usize::from(length)).ok_or(Unreadable::Damaged)
            });
        let ((hard_state, rest), (identity, more)) = (hard_state?, identity?);
        for zeros in [&bytes[82..84], rest, more] {
            Unreadable::check_reserved(zeros, reserved)?;
        }
        Ok(State {
            batch: number(8),
            directory: number(16),
            bounds: LogBounds { boundary: id(24), last: id(40) },
            commit_hint: LogIndex::new(number(56)),
            oldest_stored: LogIndex::new(number(64)),
            marks: [small(bytes, 72), small(bytes, 76)],
            hard_state: decode_hard_state(hard_state)?,
            identity: match identity {
                [] => None,
                identity => Some(decode_identity(identity)?),
            },
        })
    }

    /// The version of the record in these bytes, if they start like a record of any version.
    pub(crate) fn version(bytes: &[u8]) -> Option<u32> {
        (bytes.len() >= 8 && bytes[..4] == MAGIC).then(|| small(bytes, 4))
    }

    /// The newest batch number of this log's sound state records anywhere in these bytes.
    pub(crate) fn newest_in(bytes: &[u8], directory: u64) -> Option<u64> {
        let starts = bytes.windows(4).enumerate().filter(|(_, four)| **four == MAGIC);
        let records =
            starts.filter_map(|(at, _)| State::decode(bytes.get(at..at + STATE_BYTES)?).ok());
        records.filter(|state| state.directory == directory).map(|state| state.batch).max()
    }
}

fn small(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft_core::types::{ClusterId, NodeId, StoreId};

    fn largest() -> State {
        let id = EntryId::new(Term::new(u64::MAX), LogIndex::new(u64::MAX));
        let node = NodeId::new(u64::MAX).expect("not zero");
        State {
            directory: u64::MAX,
            batch: u64::MAX,
            bounds: LogBounds { boundary: id, last: id },
            commit_hint: id.index,
            oldest_stored: id.index,
            marks: [u32::MAX, u32::MAX],
            hard_state: HardState { term: id.term, vote: Some(node) },
            identity: Some(Identity {
                cluster: ClusterId(u64::MAX),
                node,
                store: StoreId(u64::MAX),
            }),
        }
    }

    #[test]
    fn the_largest_and_the_smallest_state_are_decoded_unchanged_and_found() {
        for state in [largest(), State::blank(7)] {
            assert_eq!(State::decode(&state.encode()), Ok(state));
            let mut bytes = vec![b'K'; 4096];
            bytes[3001..3001 + STATE_BYTES].copy_from_slice(&state.encode());
            assert_eq!(State::newest_in(&bytes, state.directory), Some(state.batch));
            assert_eq!(State::newest_in(&bytes, 8), None, "of another log");
            assert_eq!(State::newest_in(&bytes[..3100], state.directory), None, "cut");
        }
    }

    #[test]
    fn any_flipped_bit_is_detected() {
        let bytes = largest().encode();
        for bit in 0..STATE_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(State::decode(&flipped), Err(Unreadable::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_valid_record_of_a_newer_version_is_distinguished_from_damage() {
        let state = State::blank(7);
        for at in (4..8).chain(82..84).chain([115, 159]) {
            let mut newer = state.encode();
            newer[at] ^= 0x80;
            let checksum = crc32c::crc32c(&newer[..CHECKSUM]);
            newer[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
            let decoded = State::decode(&newer);
            assert!(matches!(decoded, Err(Unreadable::Newer(_))), "byte {at}: {decoded:?}");
        }
    }
}
