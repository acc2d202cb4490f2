//! Snapshot files: one frozen sample, damage at each byte, and files of a newer version.

use std::fs;
use std::io::{self, Read, Write};

use bytes::Bytes;
use raft_core::types::{ClusterId, EntryId, Identity, LogIndex, Membership, NodeId, StoreId, Term};
use raft_node::{
    DamagedSnapshot, FEATURE_LEVEL, SessionTable, SnapshotDir, SnapshotHead, SnapshotReader,
    SnapshotWriter, Unsound,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

fn head(last: EntryId, salt: u64) -> SnapshotHead {
    let members = [(node(2), Bytes::from_static(b"b:1"))];
    SnapshotHead {
        writer: Identity { cluster: ClusterId(0xc1), node: node(2), store: StoreId(0xa2) },
        last,
        membership: Membership::of_voters(members).expect("sound"),
        feature_level: 1,
        sessions: Default::default(),
        salt,
    }
}

/// The bytes of a file.
fn file(head: SnapshotHead, application: &[u8]) -> Vec<u8> {
    let mut writer = SnapshotWriter::new(Vec::new(), head).expect("to memory");
    writer.write_all(application).expect("to memory");
    writer.finish().expect("to memory")
}

/// The head and the application's bytes of a file.
fn read(bytes: &[u8]) -> Result<(SnapshotHead, Vec<u8>), Unsound> {
    let mut reader = SnapshotReader::new(bytes)?;
    let (head, mut application) = (reader.head().clone(), Vec::new());
    let read = reader.read_to_end(&mut application);
    let length = reader.finish()?;
    assert_eq!((read.expect("sound"), application.len() as u64), (application.len(), length));
    Ok((head, application))
}

/// Version 1, frozen: the state `state`, after entry 7@3.
const SAMPLE: [u8; 194] = [
    0x4b, 0x54, 0x4b, 0x53, 0x4e, 0x41, 0x50, 0x53, 0x01, 0x00, 0x00, 0x00, 0x65, 0x00, 0x00,
    0x00, //
    0xf2, 0xb0, 0xad, 0x71, 0x6d, 0xf4, 0xbb, 0x62, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22,
    0x11, //
    0x77, 0x72, 0x69, 0x74, 0x65, 0x72, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00,
    0x00, //
    0x01, 0xc1, 0x01, 0x02, 0xa2, 0x01, 0x6c, 0x61, 0x73, 0x74, 0x00, 0x00, 0x00, 0x00, 0x01,
    0x00, //
    0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07,
    0x00, //
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x6d, 0x65, 0x6d, 0x62, 0x65, 0x72, 0x73, 0x00, 0x01,
    0x00, //
    0x00, 0x00, 0x0b, 0x00, 0x00, 0x00, 0x01, 0x01, 0x02, 0x00, 0x00, 0x01, 0x02, 0x03, 0x62,
    0x3a, //
    0x31, 0x6c, 0x65, 0x76, 0x65, 0x6c, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x04, 0x00,
    0x00, //
    0x00, 0x01, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0xac,
    0xe6, //
    0x1e, 0x58, 0x7d, 0x61, 0x1c, 0x73, 0x74, 0x61, 0x74, 0x65, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, //
    0x00, 0x00, 0x6c, 0xd4, 0x80, 0x5c, 0x0f, 0x04, 0x8d, 0xdf, 0x05, 0x00, 0x00, 0x00, 0x00,
    0x00, //
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x2a, 0xb0, 0xbb, 0xe7, 0x6b,
    0xa3, //
    0xcf, 0x6b,
];

#[test]
fn the_format_is_the_frozen_one() {
    let written = file(head(id(7, 3), 0x1122_3344_5566_7788), b"state");
    assert_eq!(written, SAMPLE);
    let (found, application) = read(&SAMPLE).expect("sound");
    assert_eq!(found, head(id(7, 3), 0x1122_3344_5566_7788));
    assert_eq!(application, b"state");
}

/// The table with one session, that of entry 3: its log time, and the session's token, limits, log
/// time, acknowledged number, and two requests that ran, one of them with an answer.
const TABLE: [u8; 16] = [1, 9, 1, 3, 4, 5, 100, 8, 20, 7, 6, 1, 2, 1, 1, 2];

/// Version 2, frozen: a table and the state `state`, after entry 7@3, at feature level 2.
#[test]
fn the_format_of_version_2_is_the_frozen_one() {
    let table = [&TABLE[..], &[0, 2, b'o', b'k']].concat();
    let sessions = SessionTable::decode(&table).expect("sound");
    assert_eq!(sessions.encode(), table);
    let head = SnapshotHead { feature_level: 2, sessions, ..head(id(7, 3), 1) };
    let written = file(head.clone(), b"state");
    let (found, application) = read(&written).expect("sound");
    assert_eq!((&found, &application[..]), (&head, &b"state"[..]));
    let sections = sample_sections().len() + 16 + 8;
    let chunk = 32 + sections;
    assert_eq!(written[8..12], [2, 0, 0, 0]);
    let last_section = [&b"sessions"[..], &[1, 0, 0, 0, 8, 0, 0, 0], &numbers(&[20])].concat();
    assert_eq!(written[chunk - 24..chunk], last_section);
    assert_eq!(written[chunk..chunk + 8], [25, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(written[chunk + 16..chunk + 41], [&table[..], b"state"].concat());
    assert_eq!(xxh3_64(&written), 10_481_419_508_021_371_280, "any other byte");
}

/// A file whose table is damaged, cut short, or larger than its file is refused.
#[test]
fn a_table_that_is_not_sound_is_refused() {
    let sessions = SessionTable::decode(&[&TABLE[..], &[0, 2, b'o', b'k']].concat());
    let sessions = sessions.expect("sound");
    let written = file(SnapshotHead { feature_level: 2, sessions, ..head(id(7, 3), 1) }, b"state");
    for at in 0..written.len() {
        let mut damaged = written.clone();
        damaged[at] ^= 0x40;
        assert!(read(&damaged).is_err(), "byte {at}");
        assert!(read(&written[..at]).is_err(), "cut at {at}");
    }
    let refused = |bytes: &[u8]| SnapshotReader::new(bytes).expect_err("damaged").to_string();
    let missing = refused(&head_of(2, sample_sections()));
    let large = refused(&head_with(2, &[("sessions", 1, &numbers(&[u64::MAX]))]));
    let early = refused(&head_with(1, &[("sessions", 1, &numbers(&[20]))]));
    for text in [missing, large, early] {
        assert!(text.starts_with("damaged"), "{text}");
    }
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The checksums of the sample, computed here as the page on the format describes them.
#[test]
fn the_checksums_are_those_of_the_page() {
    let sections = u32::from_le_bytes(SAMPLE[12..16].try_into().expect("four")) as usize;
    let (chunk, end) = (32 + sections, SAMPLE.len() - 40);
    let checksum_at = |at: usize| u64::from_le_bytes(SAMPLE[at..at + 8].try_into().expect("8"));
    let of_head = [&SAMPLE[..16], &SAMPLE[24..chunk]].concat();
    assert_eq!(checksum_at(16), xxh3_64(&of_head));
    let seed = |before| xxh3_64(&numbers(&[0xc1, 3, 7, 0x1122_3344_5566_7788, before]));
    let sealed = |start: usize, end: usize, before| {
        let content = [&SAMPLE[start..start + 8], &SAMPLE[start + 16..end]].concat();
        xxh3_64_with_seed(&content, seed(before))
    };
    assert_eq!(checksum_at(chunk + 8), sealed(chunk, end, 0));
    assert_eq!(checksum_at(end + 8), sealed(end, SAMPLE.len(), 5));
    assert_eq!([16, 24].map(|at| checksum_at(end + at)), [5, 1]);
    assert_eq!(checksum_at(end + 32), xxh3_64(&SAMPLE[..end]));
}

#[test]
fn a_state_of_any_length_is_read_as_it_was_written() {
    for length in [0, 1, 5, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 700_000] {
        let application: Vec<u8> = (0..length).map(|at: u32| (at % 251) as u8).collect();
        let mut writer = SnapshotWriter::new(Vec::new(), head(id(7, 3), 1)).expect("to memory");
        for piece in application.chunks(10_007) {
            writer.write_all(piece).expect("to memory");
            writer.flush().expect("to memory");
        }
        let bytes = writer.finish().expect("to memory");
        assert!(bytes == file(head(id(7, 3), 1), &application), "pieces make no difference");
        assert!(read(&bytes).expect("sound").1 == application, "{length} bytes");
    }
}

/// The reader must not report the end of a state before the end record was found.
#[test]
fn damage_is_reported_wherever_it_is() {
    for at in 0..SAMPLE.len() {
        let mut bytes = SAMPLE;
        bytes[at] ^= 1;
        let error = read(&bytes).expect_err("damaged");
        assert!(matches!(error, Unsound::Damaged { .. }), "byte {at}: {error}");
    }
    for length in 0..SAMPLE.len() {
        let error = read(&SAMPLE[..length]).expect_err("cut short");
        assert!(matches!(error, Unsound::Damaged { .. }), "{length} bytes: {error}");
    }
    let error = read(&[&SAMPLE[..], &[0]].concat()).expect_err("a byte follows");
    assert_eq!(
        error.to_string(),
        format!("damaged at byte {}: bytes after the end record", SAMPLE.len())
    );
}

#[test]
fn a_damaged_state_is_an_error_and_not_a_shorter_state() {
    let mut bytes = file(head(id(7, 3), 1), &[7; 600_000]);
    bytes[400_000] ^= 1;
    let (mut reader, mut got) = (SnapshotReader::new(&bytes[..]).expect("a head"), Vec::new());
    let error = reader.read_to_end(&mut got).expect_err("damaged");
    assert_eq!((error.kind(), got.len()), (io::ErrorKind::InvalidData, 256 << 10));
    let again = reader.read(&mut [0; 9]).expect_err("still damaged");
    assert_eq!(again.to_string(), error.to_string());
    assert_eq!(reader.finish().expect_err("damaged").to_string(), error.to_string());
}

/// Chunks of equal content and equal place, of the same member and at the same entry.
#[test]
fn a_chunk_of_another_file_or_place_is_refused() {
    let state = [5; 600_000];
    let (one, other) = (file(head(id(7, 3), 1), &state), file(head(id(7, 3), 2), &state));
    let chunk = (256 << 10) + 16;
    let first = one.len() - 40 - (600_000 + 3 * 16);
    let mut mixed = one.clone();
    mixed[first..first + chunk].copy_from_slice(&other[first..first + chunk]);
    let error = read(&mixed).expect_err("of another file").to_string();
    assert_eq!(error, format!("damaged at byte {first}: the checksum of a chunk"));
    let mut moved = one.clone();
    moved.copy_within(first..first + chunk, first + chunk);
    let error = read(&moved).expect_err("of another place").to_string();
    assert_eq!(error, format!("damaged at byte {}: the checksum of a chunk", first + chunk));
    let without = [&one[..first + chunk], &one[one.len() - 40..]].concat();
    read(&without).expect_err("chunks are missing");
}

/// What went unnoticed when it was planted: the numbers of the end record were not compared.
#[test]
fn an_end_record_of_another_content_is_refused() {
    let end = SAMPLE.len() - 40;
    for at in [16, 24, 32] {
        let mut bytes = SAMPLE;
        bytes[end + at] ^= 1;
        let seed = xxh3_64(&numbers(&[0xc1, 3, 7, 0x1122_3344_5566_7788, 5]));
        let content = [&bytes[end..end + 8], &bytes[end + 16..]].concat();
        let sealed = xxh3_64_with_seed(&content, seed).to_le_bytes();
        bytes[end + 8..end + 16].copy_from_slice(&sealed);
        let error = read(&bytes).expect_err("it does not fit").to_string();
        assert_eq!(error, format!("damaged at byte {end}: the end record"));
    }
}

/// A head with these sections beside those of the sample, and a checksum that holds.
fn head_with(version: u32, sections: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut all = sample_sections().to_vec();
    for (name, flags, content) in sections {
        let mut padded = [0; 8];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        all.extend(padded);
        all.extend(flags.to_le_bytes());
        all.extend((content.len() as u32).to_le_bytes());
        all.extend(*content);
    }
    head_of(version, &all)
}

fn sample_sections() -> &'static [u8] {
    let length = u32::from_le_bytes(SAMPLE[12..16].try_into().expect("four")) as usize;
    &SAMPLE[32..32 + length]
}

/// A head of these sections, with a checksum that holds.
fn head_of(version: u32, sections: &[u8]) -> Vec<u8> {
    let mut bytes = SAMPLE[..8].to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend((sections.len() as u32).to_le_bytes());
    let mut digest = Xxh3::new();
    [&bytes[..], &SAMPLE[24..32], sections].iter().for_each(|part| digest.update(part));
    bytes.extend(digest.digest().to_le_bytes());
    bytes.extend(&SAMPLE[24..32]);
    bytes.extend(sections);
    bytes
}

#[test]
fn what_a_newer_version_wrote_is_refused_by_name() {
    let refused = |bytes: &[u8]| SnapshotReader::new(bytes).expect_err("newer").to_string();
    let says =
        |what: &str| format!("written by a newer version of Kontiki ({what}); use that version");
    assert_eq!(refused(&head_with(3, &[])), says("version 3 of the format"));
    let leases = head_with(1, &[("leases", 1, b"table")]);
    assert_eq!(refused(&leases), says("a section \"leases\" with flags 1"));
    let optional = head_with(1, &[("comment", 0, b"text")]);
    let reader = SnapshotReader::new(&optional[..]).expect("an optional section is ignored");
    assert_eq!(reader.head().last, id(7, 3));
    let twice = head_with(1, &[("level", 1, &[1, 0, 0, 0])]);
    assert!(refused(&twice).starts_with("damaged"));
    let mut higher = sample_sections().to_vec();
    let level = higher.len() - 4;
    higher[level..].copy_from_slice(&(FEATURE_LEVEL + 1).to_le_bytes());
    assert_eq!(
        refused(&head_of(1, &higher)),
        says(&format!("feature level {}", FEATURE_LEVEL + 1))
    );
    let sections = sample_sections().len();
    let mut chunk = SAMPLE[32 + sections..SAMPLE.len() - 40].to_vec();
    chunk[4] = 9;
    let seed = xxh3_64(&numbers(&[0xc1, 3, 7, 0x1122_3344_5566_7788, 0]));
    let sealed = xxh3_64_with_seed(&[&chunk[..8], &chunk[16..]].concat(), seed);
    chunk[8..16].copy_from_slice(&sealed.to_le_bytes());
    let other_kind = [&SAMPLE[..32 + sections], &chunk].concat();
    let error = read(&other_kind).expect_err("newer").to_string();
    assert_eq!(error, says("a chunk of another kind"));
}

/// Adds a snapshot to a directory.
fn keep(dir: &SnapshotDir, last: EntryId, application: &[u8]) {
    let mut new = dir.create(head(last, 1)).expect("created");
    new.write_all(application).expect("written");
    new.keep().expect("kept");
}

fn newest(dir: &SnapshotDir) -> (Option<EntryId>, Vec<DamagedSnapshot>) {
    let (sound, damaged) = dir.newest().expect("read");
    (sound.map(|sound| sound.head.last), damaged)
}

#[test]
fn the_newest_sound_snapshot_is_used_and_the_older_ones_are_removed() -> io::Result<()> {
    let temporary = tempfile::tempdir()?;
    let path = temporary.path().join("snapshots");
    let dir = SnapshotDir::own(&path)?;
    assert!(newest(&dir).0.is_none());
    keep(&dir, id(7, 3), b"old");
    let old = fs::read(dir.path_of(id(7, 3)))?;
    keep(&dir, id(20, 3), b"new");
    assert_eq!(dir.list()?, [id(20, 3)], "the older one was removed");
    fs::write(dir.path_of(id(7, 3)), old)?;
    assert_eq!(newest(&dir).0, Some(id(20, 3)));
    let mut bytes = fs::read(dir.path_of(id(20, 3)))?;
    let middle = bytes.len() - 41;
    bytes[middle] ^= 1;
    fs::write(dir.path_of(id(20, 3)), bytes)?;
    let (found, damaged) = newest(&dir);
    assert_eq!((found, damaged.len()), (Some(id(7, 3)), 1));
    let text = damaged[0].to_string();
    assert!(text.contains("snap-0000000000000014-0000000000000003 is damaged at byte"), "{text}");
    fs::rename(dir.path_of(id(7, 3)), dir.path_of(id(8, 3)))?;
    assert_eq!(newest(&dir).1.len(), 2, "a file with the name of another is not used");
    keep(&dir, id(30, 4), b"newest");
    assert_eq!(dir.list()?, [id(30, 4)], "damaged ones are removed as well");
    dir.clear()?;
    assert_eq!(dir.list()?, []);
    Ok(())
}

#[test]
fn unfinished_snapshots_are_never_used_and_are_removed() -> io::Result<()> {
    let temporary = tempfile::tempdir()?;
    let dir = SnapshotDir::own(temporary.path())?;
    let unfinished = "new.snap-0000000000000014-0000000000000003-0000000000000001";
    let mut new = dir.create(head(id(20, 3), 1))?;
    new.write_all(b"state")?;
    assert!(temporary.path().join(unfinished).exists());
    drop(new);
    assert!(!temporary.path().join(unfinished).exists(), "it was given up");
    for name in [unfinished, "new.peers", "snap-14-3", "lost+found"] {
        fs::write(temporary.path().join(name), file(head(id(20, 3), 1), b"state"))?;
    }
    assert_eq!(dir.list()?, []);
    let dir = SnapshotDir::own(temporary.path())?;
    assert_eq!(dir.list()?, []);
    assert_eq!(fs::read_dir(temporary.path())?.count(), 3, "only the unfinished one was removed");
    assert_eq!(SnapshotDir::look(temporary.path().join("missing")).list()?, []);
    Ok(())
}

/// An output that fails once, at the write with this number.
#[derive(Debug)]
struct FailsOnce {
    bytes: Vec<u8>,
    writes_before: usize,
}

impl Write for FailsOnce {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fails = self.writes_before == 0;
        self.writes_before = self.writes_before.wrapping_sub(1);
        self.bytes.extend_from_slice(bytes);
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_snapshot_is_not_finished_after_an_error_that_the_application_ignored() {
    let state: Vec<u8> = (0..120_000_u64).flat_map(u64::to_le_bytes).collect();
    let writes = 1 + state.len().div_ceil(256 << 10) + 1;
    for writes_before in 1..writes {
        let output = FailsOnce { bytes: Vec::new(), writes_before };
        let mut writer = SnapshotWriter::new(output, head(id(7, 3), 1)).expect("no error yet");
        for bytes in state.chunks(1000) {
            // Some applications write the same bytes again when there was no space.
            if writer.write_all(bytes).is_err() {
                let _ = writer.write_all(bytes);
            }
        }
        assert!(writer.finish().is_err(), "after an error in write {writes_before}");
    }
    let output = FailsOnce { bytes: Vec::new(), writes_before: writes };
    let mut writer = SnapshotWriter::new(output, head(id(7, 3), 1)).expect("no error");
    writer.write_all(&state).expect("no error");
    assert!(writer.finish().is_ok(), "the writes were counted right");
}

#[test]
fn two_snapshots_that_end_at_one_entry_do_not_share_a_file() {
    let place = tempfile::tempdir().expect("a directory");
    let dir = SnapshotDir::own(place.path()).expect("its own");
    let mut new = [1, 2].map(|salt| dir.create(head(id(7, 3), salt)).expect("created"));
    for new in &mut new {
        new.write_all(&[7; 300_000]).expect("written");
    }
    let [first, second] = new;
    first.keep().expect("kept");
    drop(second);
    let (newest, damaged) = dir.newest().expect("readable");
    assert_eq!((newest.map(|it| it.head.salt), damaged.len()), (Some(1), 0));
}

/// What went wrong: the second file replaced the first, whose name a member still offered to its
/// peers, and which was not there any more.
#[test]
fn of_two_snapshots_that_end_at_one_entry_the_first_stays_unless_it_is_damaged() {
    let place = tempfile::tempdir().expect("a directory");
    let dir = SnapshotDir::own(place.path()).expect("its own");
    let salt_kept_of = |salt| {
        let mut new = dir.create(head(id(7, 3), salt)).expect("created");
        new.write_all(b"state").expect("written");
        new.keep().expect("kept").head.salt
    };
    assert_eq!([salt_kept_of(1), salt_kept_of(2)], [1, 1]);
    assert_eq!(fs::read_dir(place.path()).expect("readable").count(), 1, "nothing else is left");
    // A member that received the file says which one is there, too.
    let bytes = file(head(id(7, 3), 3), b"state");
    let mut received = dir.receive(id(7, 3), 3).expect("created");
    received.add(&bytes).expect("written");
    let cluster = head(id(7, 3), 3).writer.cluster;
    assert_eq!(received.keep(cluster, || true).expect("kept").head.salt, 1);
    fs::write(dir.path_of(id(7, 3)), b"damaged").expect("written");
    assert_eq!(salt_kept_of(4), 4);
}

/// A file that is received is checked like any other before it gets its name.
#[test]
fn a_received_file_that_is_not_what_was_announced_is_not_kept() {
    let place = tempfile::tempdir().expect("a directory");
    let dir = SnapshotDir::own(place.path()).expect("its own");
    let sound = file(head(id(7, 3), 1), &[7; 300_000]);
    let cluster = head(id(7, 3), 1).writer.cluster;
    let other = raft_core::types::ClusterId(cluster.0 + 1);
    let mut flipped = sound.clone();
    flipped[200_000] ^= 1;
    for (salt, bytes, of) in [
        (1, &sound[..sound.len() - 1], cluster),
        (1, &flipped[..], cluster),
        (2, &sound[..], cluster),
        (1, &sound[..], other),
    ] {
        let mut received = dir.receive(id(7, 3), salt).expect("created");
        bytes.chunks(4096).for_each(|part| received.add(part).expect("written"));
        assert!(received.keep(of, || true).is_err(), "{salt}, {} bytes, {of}", bytes.len());
        assert_eq!(fs::read_dir(place.path()).expect("readable").count(), 0);
    }
    let mut received = dir.receive(id(7, 3), 1).expect("created");
    received.add(&sound).expect("written");
    assert!(received.keep(cluster, || false).is_err(), "the member ends");
    assert_eq!(dir.list().expect("listed"), []);
}

#[test]
fn a_head_that_no_reader_accepts_is_not_written() {
    for last in [id(0, 1), id(1, u64::MAX), id(1 << 63, 1)] {
        let refused = SnapshotWriter::new(Vec::new(), head(last, 1)).expect_err("refused");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn a_directory_with_the_name_of_a_snapshot_is_no_snapshot() {
    let place = tempfile::tempdir().expect("a directory");
    let names = [
        "snap-0000000000000009-0000000000000003",
        "new.snap-0000000000000009-0000000000000003-0000000000000001",
    ];
    for name in names {
        fs::create_dir(place.path().join(name)).expect("created");
    }
    let dir = SnapshotDir::own(place.path()).expect("its own");
    let mut new = dir.create(head(id(10, 3), 1)).expect("created");
    new.write_all(b"state").expect("written");
    new.keep().expect("kept");
    let (newest, damaged) = dir.newest().expect("readable");
    assert_eq!((newest.map(|it| it.head.last), damaged.len()), (Some(id(10, 3)), 0));
}
