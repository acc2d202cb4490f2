//! The database's keys, and the encoding of all values except the state.

use bytes::Bytes;
use raft_core::storage::SummaryPart;
use raft_core::storage::record::Unreadable;
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, Term, TermRun};
use xxhash_rust::xxh3::xxh3_64;

/// The key of the state record, in the family `default`.
pub(crate) const STATE_KEY: &[u8] = b"state";
/// The bounds of the keys of runs: no other key is between them.
pub(crate) const RUN_KEYS: [&[u8]; 2] = [b"r", b"s"];
/// The bounds of the keys of memberships.
pub(crate) const MEMBERSHIP_KEYS: [&[u8]; 2] = [b"m", b"n"];

/// The length of an entry's value before its payload.
const ENTRY_HEADER_BYTES: usize = 24;
const RUN_BYTES: usize = 12;

/// The key of an entry, in the family `log`.
pub(crate) fn entry_key(index: LogIndex) -> [u8; 8] {
    index.get().to_be_bytes()
}

/// The first key after an entry's.
pub(crate) fn key_behind(index: LogIndex) -> [u8; 9] {
    let mut key = [0; 9];
    key[..8].copy_from_slice(&entry_key(index));
    key
}

/// Writes an entry's value over `value`.
pub(crate) fn encode_entry(entry: &Entry, directory: u64, value: &mut Vec<u8>) {
    let hash = xxh3_64(&entry.payload);
    let kind = entry.kind.number();
    let head = head(directory, entry.id, kind, entry.size(), hash);
    value.clear();
    value.extend_from_slice(&entry.id.term.get().to_le_bytes());
    value.extend_from_slice(&hash.to_le_bytes());
    value.extend_from_slice(&head.to_le_bytes());
    value.extend_from_slice(&[kind, 0, 0, 0]);
    value.extend_from_slice(&entry.payload);
}

/// The entry of a key and a value, if all of it is what was stored at this index. No checksum
/// covers the reserved bytes separately, so a change in them counts as damage.
pub(crate) fn decode_entry(
    index: LogIndex,
    key: &[u8],
    value: &[u8],
    directory: u64,
) -> Result<Entry, Unreadable> {
    let parts = value.split_at_checked(ENTRY_HEADER_BYTES);
    let (header, payload) = parts.ok_or(Unreadable::Damaged)?;
    let (term, hash) = (number(&header[..8]), number(&header[8..16]));
    let id = EntryId::new(Term::new(term), index);
    let sum = head(directory, id, header[20], payload.len() as u64, hash);
    let is_sound = key == entry_key(index)
        && header[16..20] == sum.to_le_bytes()
        && header[21..] == [0; 3]
        && xxh3_64(payload) == hash;
    if !is_sound {
        return Err(Unreadable::Damaged);
    }
    let kind = EntryKind::from_number(header[20]);
    let kind = kind.ok_or(Unreadable::Newer("an entry of an unknown kind"))?;
    Ok(Entry::new(id, kind, Bytes::copy_from_slice(payload)))
}

/// The key of a mark: a part of the log's summary, so that an open need not read the entries.
pub(crate) fn mark_key(mark: SummaryPart) -> [u8; 9] {
    let (family, index) = match mark {
        SummaryPart::Run(run) => (RUN_KEYS[0], run.first),
        SummaryPart::Membership(index) => (MEMBERSHIP_KEYS[0], index),
    };
    let mut key = [family[0]; 9];
    key[1..].copy_from_slice(&index.get().to_be_bytes());
    key
}

/// The value of a mark.
pub(crate) fn mark_value(mark: SummaryPart, directory: u64) -> Vec<u8> {
    match mark {
        SummaryPart::Run(TermRun { first, term }) => {
            let sum = checksum(&[directory, first.get(), term.get()]);
            [&term.get().to_le_bytes()[..], &sum.to_le_bytes()].concat()
        }
        SummaryPart::Membership(index) => {
            checksum(&[directory, index.get()]).to_le_bytes().to_vec()
        }
    }
}

/// The mark of a key and a value, if both are as stored.
pub(crate) fn decode_mark(key: &[u8], value: &[u8], directory: u64) -> Option<SummaryPart> {
    let (family, index) = key.split_at_checked(1)?;
    let index = LogIndex::new(u64::from_be_bytes(index.try_into().ok()?));
    let mark = match value.len() {
        RUN_BYTES if family == RUN_KEYS[0] => {
            SummaryPart::Run(TermRun { first: index, term: Term::new(number(&value[..8])) })
        }
        4 if family == MEMBERSHIP_KEYS[0] => SummaryPart::Membership(index),
        _ => return None,
    };
    (mark_value(mark, directory) == value).then_some(mark)
}

fn head(directory: u64, id: EntryId, kind: u8, payload_bytes: u64, hash: u64) -> u32 {
    let EntryId { term, index } = id;
    checksum(&[directory, index.get(), term.get(), u64::from(kind), payload_bytes, hash])
}

fn checksum(numbers: &[u64]) -> u32 {
    let add = |sum, number: &u64| crc32c::crc32c_append(sum, &number.to_le_bytes());
    numbers.iter().fold(0, add)
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let id = EntryId::new(Term::new(7), LogIndex::new(300));
        Entry::new(id, EntryKind::Command, Bytes::from_static(b"a payload"))
    }

    #[test]
    fn an_entry_is_decoded_unchanged_and_any_flipped_bit_is_detected() {
        let (entry, mut value) = (entry(), Vec::new());
        encode_entry(&entry, 5, &mut value);
        let key = entry_key(entry.id.index);
        let decode = |value: &[u8]| decode_entry(entry.id.index, &key, value, 5);
        assert_eq!(decode(&value), Ok(entry.clone()));
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), Err(Unreadable::Damaged), "bit {bit}");
        }
        assert!(decode(&value[..value.len() - 1]).is_err());
        assert!(decode_entry(entry.id.index, &key, &value, 6).is_err(), "of another log");
        assert!(decode_entry(entry.id.index.next(), &key, &value, 5).is_err(), "moved");
    }

    #[test]
    fn an_entry_of_an_unknown_kind_is_distinguished_from_damage() {
        let (entry, mut value) = (entry(), Vec::new());
        encode_entry(&entry, 5, &mut value);
        value[20] = 200;
        let sum = head(5, entry.id, 200, entry.size(), xxh3_64(&entry.payload));
        value[16..20].copy_from_slice(&sum.to_le_bytes());
        let decoded = decode_entry(entry.id.index, &entry_key(entry.id.index), &value, 5);
        assert!(matches!(decoded, Err(Unreadable::Newer(_))), "{decoded:?}");
    }

    #[test]
    fn marks_are_decoded_unchanged_and_any_flipped_bit_is_detected() {
        let run = TermRun { first: LogIndex::new(u64::MAX), term: Term::new(3) };
        for mark in [SummaryPart::Run(run), SummaryPart::Membership(LogIndex::new(9))] {
            let (key, value) = (mark_key(mark), mark_value(mark, 5));
            assert_eq!(decode_mark(&key, &value, 5), Some(mark));
            assert_eq!(decode_mark(&key, &value, 6), None, "of another log");
            for bit in 0..value.len() * 8 {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode_mark(&key, &flipped, 5), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn keys_sort_by_index_and_the_state_is_outside_the_marks() {
        let [low, high] = [LogIndex::new(255), LogIndex::new(256)];
        assert!(entry_key(low) < entry_key(high));
        assert!(key_behind(low)[..] > entry_key(low)[..]);
        assert!(key_behind(low)[..] < entry_key(high)[..]);
        assert!(!(RUN_KEYS[0]..RUN_KEYS[1]).contains(&STATE_KEY));
    }
}
