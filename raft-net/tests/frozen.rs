//! The bytes of all wire versions, frozen: one sample of each frame. They are written out by hand
//! from `docs/formats/wire.md`; a change of the code that breaks one needs a new version.
//!
//! Version 2 has the frames of version 1, with another version number in the prefix, and two more;
//! version 3 has those of version 2, and the transfer of snapshots; version 5 adds what leases
//! need.

use bytes::{Buf, Bytes, BytesMut};
use raft_core::consensus::{Body, Message, ReadId, Round, Verdict};
use raft_core::types::{ClusterId, Entry, EntryId, EntryKind, LogIndex, LogSpan, Term, TermRun};
use raft_net::wire::{Chunks, Frame, FrameReader, Unsendable, WireError, encode, keep_alive};
use raft_node::{Content, Entries, Envelope, Forward, ForwardAnswer, SnapshotId, SnapshotMessage};

const CLUSTER: ClusterId = ClusterId(0x1122_3344_5566_7788);

/// Bytes 0 to 19 of each frame: magic, version, lengths, cluster.
fn beginning(version: u8, header: u8, body: u8) -> String {
    format!("4b544b{version:02x} {header:02x}000000 {body:02x}000000 8877665544332211")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// Checks that this content encodes to these bytes of version 1 and decodes from them. `checksums`
/// are bytes 20 to 27.
fn check(content: Content, checksums: &str, header: &str, body: &str) {
    check_version(1, content, checksums, header, body);
}

fn check_version(version: u8, content: Content, checksums: &str, header: &str, body: &str) {
    let envelope = Envelope { cluster: CLUSTER, content };
    let frozen = frozen(version, checksums, header, body);
    let mut chunks = Chunks::new();
    encode(&envelope, version, &mut chunks).expect("within the limits");
    let encoded = chunks.copy_to_bytes(chunks.remaining());
    assert_eq!(hex(&encoded), hex(&frozen));
    let decoded = FrameReader::new(version).next(&mut BytesMut::from(&frozen[..]));
    assert_eq!(decoded, Ok(Some(Frame::Envelope(envelope))));
    let other = FrameReader::new(version % 2 + 1).next(&mut BytesMut::from(&frozen[..]));
    assert_eq!(other, Err(WireError::Version(version)));
}

fn frozen(version: u8, checksums: &str, header: &str, body: &str) -> Vec<u8> {
    let beginning = beginning(version, unhex(header).len() as u8, unhex(body).len() as u8);
    unhex(&format!("{beginning}{checksums}{header}{body}"))
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

fn message(term: u64, body: Body) -> Content {
    Content::Raft { message: Message::new(Term::new(term), body), entries: Entries::default() }
}

#[test]
fn keep_alive_of_version_1() {
    check_keep_alive(1, "00000000432a3385");
}

fn check_keep_alive(version: u8, checksums: &str) {
    let mut chunks = Chunks::new();
    keep_alive(CLUSTER, version, &mut chunks);
    let encoded = chunks.copy_to_bytes(chunks.remaining());
    assert_eq!(hex(&encoded), hex(&frozen(version, checksums, "00", "")));
}

#[test]
fn messages_of_version_1() {
    check(
        message(300, Body::PreVote { last: id(2, 5) }),
        "000000005198b7ab",
        "01 ac02 00 02 05",
        "",
    );
    let body = Body::PreVoteResponse { asked: Term::new(7), granted: true };
    check(message(8, body), "00000000bd65f68f", "01 08 01 07 01", "");
    check(
        message(8, Body::Vote { last: id(2, 5), in_transfer: false }),
        "000000007acb6aff",
        "01 08 02 02 05",
        "",
    );
    check(message(8, Body::VoteResponse { granted: false }), "00000000f4501d22", "01 08 03 00", "");
    let verdict = Verdict::Accepted { matched: LogIndex::new(9) };
    let body = Body::AppendResponse { verdict, round: Round(4) };
    check(message(8, body), "00000000314702d0", "01 08 05 09 04", "");
    let verdict = Verdict::Conflict { refused: LogIndex::new(9), hint: id(2, 5) };
    let body = Body::AppendResponse { verdict, round: Round(4) };
    check(message(8, body), "0000000064597188", "01 08 06 09 02 05 04", "");
    let body = Body::ReadIndex { read: ReadId(6), by_lease: false };
    check(message(8, body), "00000000c0d6364a", "01 08 07 06", "");
    let body = Body::ReadIndexResponse { read: ReadId(6), index: LogIndex::new(9) };
    check(message(8, body), "00000000be099d8b", "01 08 08 06 09", "");
}

#[test]
fn append_of_version_1() {
    let runs = [(6, 2), (7, 8)]
        .map(|(first, term)| TermRun { first: LogIndex::new(first), term: Term::new(term) });
    let span = LogSpan::new(id(2, 5), runs, LogIndex::new(7)).expect("sound");
    let body = Body::Append { span, commit: LogIndex::new(3), round: Round(4) };
    let entries = vec![
        Entry::new(id(2, 6), EntryKind::Command, Bytes::from_static(b"abc")),
        Entry::new(id(8, 7), EntryKind::Noop, Bytes::new()),
    ];
    let content =
        Content::Raft { message: Message::new(Term::new(8), body), entries: entries.into() };
    let header = "01 08 04 0205 07 02 0602 0708 03 04 02 0103 0000";
    check(content, "b73f4b369785a408", header, "616263");
}

#[test]
fn forwards_of_version_1() {
    let commands = vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")];
    let forward = Forward { term: Term::new(8), start: 300, sequence: 1, commands };
    check(Content::Forward(forward), "b73f4b3634fa91d8", "02 08 ac02 01 02 01 02", "616263");
    let answer = ForwardAnswer { start: 300, sequence: 1, appended: Some(id(8, 7)) };
    check(Content::ForwardAnswer(answer), "000000001a423d5c", "03 ac02 01 01 0807", "");
    let answer = ForwardAnswer { start: 300, sequence: 1, appended: None };
    check(Content::ForwardAnswer(answer), "00000000e044f970", "03 ac02 01 00", "");
}

/// What version 1 has is the same in version 2, apart from the version number and the checksum.
#[test]
fn frames_of_version_2() {
    check_keep_alive(2, "000000009f190d61");
    let vote = Body::Vote { last: id(2, 5), in_transfer: false };
    check_version(2, message(8, vote), "000000006b479989", "01 08 02 02 05", "");
    let commands = vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")];
    let forward = Forward { term: Term::new(8), start: 300, sequence: 1, commands };
    let header = "02 08 ac02 01 02 01 02";
    check_version(2, Content::Forward(forward), "b73f4b36aad111c5", header, "616263");
}

#[test]
fn leadership_transfer_of_version_2() {
    check_version(2, message(8, Body::TimeoutNow), "000000008361b211", "01 08 09", "");
    let vote = Body::Vote { last: id(2, 5), in_transfer: true };
    check_version(2, message(8, vote), "00000000ae79c8b1", "01 08 0a 02 05", "");
}

/// A peer of version 1 is sent no request to campaign, and a vote request without the mark.
#[test]
fn leadership_transfer_to_a_peer_of_version_1() {
    let mut chunks = Chunks::new();
    let envelope = Envelope { cluster: CLUSTER, content: message(8, Body::TimeoutNow) };
    let refused = Unsendable::Version { what: "a request to campaign", needed: 2, agreed: 1 };
    assert_eq!(encode(&envelope, 1, &mut chunks), Err(refused));
    assert_eq!(chunks.remaining(), 0);
    let vote = Body::Vote { last: id(2, 5), in_transfer: true };
    encode(&Envelope { cluster: CLUSTER, content: message(8, vote) }, 1, &mut chunks)
        .expect("within the limits");
    let encoded = chunks.copy_to_bytes(chunks.remaining());
    assert_eq!(hex(&encoded), hex(&frozen(1, "000000007acb6aff", "01 08 02 02 05", "")));
}

/// A variant of version 2 in a frame of version 1 is refused.
#[test]
fn a_newer_variant_in_an_older_frame_is_refused() {
    for (checksums, header) in
        [("00000000e0508eda", "01 08 09"), ("00000000bff53bc7", "01 08 0a 02 05")]
    {
        let bytes = frozen(1, checksums, header, "");
        let refused = FrameReader::new(1).next(&mut BytesMut::from(&bytes[..]));
        assert_eq!(refused, Err(WireError::Malformed));
    }
}

#[test]
fn transfer_of_a_snapshot_of_version_3() {
    check_keep_alive(3, "000000002bf7183d");
    let id = SnapshotId { last: id(2, 5), salt: 300 };
    let check = |message, checksums, header, body| {
        check_version(3, Content::Snapshot(message), checksums, header, body);
    };
    let offer = SnapshotMessage::Offer { term: Term::new(8), id, bytes: 1024 };
    check(offer, "0000000097b7b156", "04 0205 ac02 00 08 8008", "");
    let request = SnapshotMessage::Request { id, offset: 7, most: 300 };
    check(request, "00000000dd2ea200", "04 0205 ac02 01 07 ac02", "");
    let chunk = SnapshotMessage::Chunk { id, offset: 7, bytes: Bytes::from_static(b"abc") };
    check(chunk, "b73f4b364845c2d0", "04 0205 ac02 02 07 03", "616263");
    check(SnapshotMessage::Gone { id }, "00000000a7a24899", "04 0205 ac02 03", "");
    let restoring = SnapshotMessage::Restoring { id };
    check(restoring, "000000004cc6824d", "04 0205 ac02 04", "");
    let damaged = SnapshotMessage::Damaged { id };
    check(damaged, "000000004f45e9bf", "04 0205 ac02 05", "");
}

/// A peer of version 2 is not sent any of it, and does not accept it.
#[test]
fn transfer_of_a_snapshot_to_a_peer_of_version_2() {
    let id = SnapshotId { last: id(2, 5), salt: 300 };
    let content = Content::Snapshot(SnapshotMessage::Gone { id });
    let mut chunks = Chunks::new();
    let what = "a step of the transfer of a snapshot";
    let refused = Unsendable::Version { what, needed: 3, agreed: 2 };
    assert_eq!(encode(&Envelope { cluster: CLUSTER, content }, 2, &mut chunks), Err(refused));
    let bytes = frozen(2, "00000000073076c7", "04 0205 ac02 03", "");
    let refused = FrameReader::new(2).next(&mut BytesMut::from(&bytes[..]));
    assert_eq!(refused, Err(WireError::Malformed));
}

#[test]
fn requests_of_sessions_of_version_4() {
    check_keep_alive(4, "00000000d6089dac");
    let requests = vec![
        (EntryKind::SessionControl, Bytes::from_static(b"a")),
        (EntryKind::SessionCommand, Bytes::from_static(b"bc")),
    ];
    let content = Content::SessionForward(requests);
    check_version(4, content, "b73f4b362ba95077", "05 02 03 01 02 02", "616263");
}

/// A peer of version 3 is not sent any of it, and does not accept it.
#[test]
fn requests_of_sessions_to_a_peer_of_version_3() {
    let mut chunks = Chunks::new();
    let content = Content::SessionForward(Vec::new());
    let refused = Unsendable::Version { what: "requests of sessions", needed: 4, agreed: 3 };
    assert_eq!(encode(&Envelope { cluster: CLUSTER, content }, 3, &mut chunks), Err(refused));
    let bytes = frozen(3, "0000000034a46252", "05 00", "");
    let refused = FrameReader::new(3).next(&mut BytesMut::from(&bytes[..]));
    assert_eq!(refused, Err(WireError::Malformed));
}

#[test]
fn leases_of_version_5() {
    check_keep_alive(5, "0000000062e688f0");
    let promise = Body::Promise { round: Round(300), micros: 300_000 };
    check_version(5, message(8, promise), "000000008e869100", "01 08 0b ac02 e0a712", "");
    let read = Body::ReadIndex { read: ReadId(6), by_lease: true };
    check_version(5, message(8, read), "000000009593165b", "01 08 0c 06", "");
}

/// A peer of version 4 is sent no promise, and a question about a read without the mark.
#[test]
fn leases_with_a_peer_of_version_4() {
    let mut chunks = Chunks::new();
    let promise = message(8, Body::Promise { round: Round(300), micros: 300_000 });
    let envelope = Envelope { cluster: CLUSTER, content: promise };
    let refused = Unsendable::Version { what: "a promise for a lease", needed: 5, agreed: 4 };
    assert_eq!(encode(&envelope, 4, &mut chunks), Err(refused));
    assert_eq!(chunks.remaining(), 0);
    let read = message(8, Body::ReadIndex { read: ReadId(6), by_lease: true });
    encode(&Envelope { cluster: CLUSTER, content: read }, 4, &mut chunks)
        .expect("within the limits");
    let encoded = chunks.copy_to_bytes(chunks.remaining());
    assert_eq!(hex(&encoded), hex(&frozen(4, "000000002933d1dc", "01 08 07 06", "")));
}
