//! The state record: everything in the log but its entries, in a fixed number of bytes.
//!
//! Each transaction rewrites it, with a batch number that is one higher. It is alone on page 2, so
//! that it can be found in a page image without SQLite.

use raft_core::storage::LogBounds;
use raft_core::storage::record::{
    Unreadable, decode_hard_state, decode_identity, encode_hard_state, encode_identity,
};
use raft_core::types::{EntryId, HardState, Identity, LogIndex, Term};

/// The application id in the database's header ("KTKL").
pub(crate) const APPLICATION_ID: i32 = 0x4b54_4b4c;

/// The length of a state record.
pub(crate) const STATE_BYTES: usize = 160;
/// The version of the stored format.
pub(crate) const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 4] = *b"KTKS";
const HARD_STATE: std::ops::Range<usize> = 76..108;
const IDENTITY: std::ops::Range<usize> = 108..152;
const CHECKSUM: usize = 156;

/// Everything in the log but its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// A random number that all files of one log share.
    pub(crate) directory: u64,
    /// How many transactions there were.
    pub(crate) batch: u64,
    pub(crate) bounds: LogBounds,
    /// The highest index that is known to be committed since the last reset. Logs of the first
    /// builds may have one beyond the last entry.
    pub(crate) commit_hint: LogIndex,
    /// No row is below this index. Rows from this index up to the boundary are purged and wait for
    /// deletion.
    pub(crate) oldest_row: LogIndex,
    pub(crate) hard_state: HardState,
    pub(crate) identity: Option<Identity>,
}

impl State {
    /// The state of a log to which nothing was written.
    pub(crate) fn blank(directory: u64) -> State {
        State {
            directory,
            batch: 0,
            bounds: LogBounds::default(),
            commit_hint: LogIndex::ZERO,
            oldest_row: LogIndex::new(1),
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
            self.oldest_row.get(),
        ];
        for (place, number) in bytes[8..72].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let hard_state = encode_hard_state(self.hard_state);
        let identity = self.identity.as_ref().map(encode_identity).unwrap_or_default();
        bytes[72] = hard_state.len() as u8;
        bytes[73] = identity.len() as u8;
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
        let small = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let id = |at: usize| EntryId::new(Term::new(number(at)), LogIndex::new(number(at + 8)));
        let is_sound = bytes[..4] == MAGIC && small(CHECKSUM) == crc32c::crc32c(&bytes[..CHECKSUM]);
        if !is_sound {
            return Err(Unreadable::Damaged);
        }
        if small(4) != FORMAT_VERSION {
            return Err(Unreadable::Newer("a state record of another version"));
        }
        let reserved = "a state record with bytes that were reserved";
        let [hard_state, identity] =
            [(HARD_STATE, bytes[72]), (IDENTITY, bytes[73])].map(|(area, length)| {
                bytes[area].split_at_checked(usize::from(length)).ok_or(Unreadable::Damaged)
            });
        let ((hard_state, rest), (identity, more)) = (hard_state?, identity?);
        for zeros in [&bytes[74..76], &bytes[152..CHECKSUM], rest, more] {
            Unreadable::check_reserved(zeros, reserved)?;
        }
        Ok(State {
            batch: number(8),
            directory: number(16),
            bounds: LogBounds { boundary: id(24), last: id(40) },
            commit_hint: LogIndex::new(number(56)),
            oldest_row: LogIndex::new(number(64)),
            hard_state: decode_hard_state(hard_state)?,
            identity: match identity {
                [] => None,
                identity => Some(decode_identity(identity)?),
            },
        })
    }

    /// The newest state record in the image of a page.
    pub(crate) fn find(page: &[u8]) -> Option<State> {
        State::all_in(page).filter_map(Result::ok).max_by_key(|state| state.batch)
    }

    /// What this version does not know in a sound state record in the image of a page, if there is
    /// one.
    pub(crate) fn find_newer(page: &[u8]) -> Option<&'static str> {
        State::all_in(page).find_map(|found| match found {
            Err(Unreadable::Newer(what)) => Some(what),
            Err(Unreadable::Damaged) | Ok(_) => None,
        })
    }

    fn all_in(page: &[u8]) -> impl Iterator<Item = Result<State, Unreadable>> {
        let starts = page.windows(4).enumerate().filter(|(_, four)| **four == MAGIC);
        starts.filter_map(|(at, _)| Some(State::decode(page.get(at..at + STATE_BYTES)?)))
    }
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
            oldest_row: id.index,
            hard_state: HardState { term: id.term, vote: Some(node) },
            identity: Some(Identity {
                cluster: ClusterId(u64::MAX),
                node,
                store: StoreId(u64::MAX),
            }),
        }
    }

    #[test]
    fn the_largest_and_the_smallest_state_fit_and_are_found_in_a_page() {
        for state in [largest(), State::blank(7)] {
            let mut page = vec![b'K'; 4096];
            page[3001..3001 + STATE_BYTES].copy_from_slice(&state.encode());
            assert_eq!(State::find(&page), Some(state));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = largest().encode();
        for bit in 0..STATE_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(State::decode(&flipped), Err(Unreadable::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_sound_record_of_a_newer_version_is_distinguished_from_damage() {
        let state = State::blank(7);
        for at in (4..8).chain(74..76).chain([107, 151]).chain(152..156) {
            let mut newer = state.encode();
            newer[at] ^= 0x80;
            let checksum = crc32c::crc32c(&newer[..CHECKSUM]);
            newer[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
            let decoded = State::decode(&newer);
            assert!(matches!(decoded, Err(Unreadable::Newer(_))), "byte {at}: {decoded:?}");
        }
    }
}
