//! The bytes of wire version 1, frozen: one sample of each frame. They are written out by hand from
//! `docs/formats/wire.md`; a change of the code that breaks one needs a new version.

use bytes::{Buf, Bytes, BytesMut};
use raft_core::consensus::{Body, Message, ReadId, Round, Verdict};
use raft_core::types::{ClusterId, Entry, EntryId, EntryKind, LogIndex, LogSpan, Term, TermRun};
use raft_net::wire::{Chunks, Frame, FrameReader, encode, keep_alive};
use raft_node::{Content, Entries, Envelope, Forward, ForwardAnswer};

const CLUSTER: ClusterId = ClusterId(0x1122_3344_5566_7788);

/// Bytes 0 to 19 of each frame: magic, version, lengths, cluster.
fn beginning(header: u8, body: u8) -> String {
    format!("4b544b01 {header:02x}000000 {body:02x}000000 8877665544332211")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// Checks that this content encodes to these bytes and decodes from them. `checksums` are bytes 20
/// to 27.
fn check(content: Content, checksums: &str, header: &str, body: &str) {
    let envelope = Envelope { cluster: CLUSTER, content };
    let lengths = (unhex(header).len() as u8, unhex(body).len() as u8);
    let frozen = unhex(&format!("{}{checksums}{header}{body}", beginning(lengths.0, lengths.1)));
    let mut chunks = Chunks::new();
    encode(&envelope, &mut chunks).expect("within the limits");
    let encoded = chunks.copy_to_bytes(chunks.remaining());
    assert_eq!(hex(&encoded), hex(&frozen));
    let decoded = FrameReader::new().next(&mut BytesMut::from(&frozen[..]));
    assert_eq!(decoded, Ok(Some(Frame::Envelope(envelope))));
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

fn message(term: u64, body: Body) -> Content {
    Content::Raft { message: Message::new(Term::new(term), body), entries: Entries::default() }
}

#[test]
fn keep_alive_of_version_1() {
    let mut chunks = Chunks::new();
    keep_alive(CLUSTER, &mut chunks);
    let encoded = chunks.copy_to_bytes(chunks.remaining());
    assert_eq!(hex(&encoded), hex(&unhex(&format!("{} 00000000432a3385 00", beginning(1, 0)))));
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
    check(message(8, Body::ReadIndex { read: ReadId(6) }), "00000000c0d6364a", "01 08 07 06", "");
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
