//! The codec with random envelopes and random bytes: a decoded envelope equals the encoded one, and
//! no bytes of a peer cause a panic or an allocation beyond the limits.

use bytes::{Buf, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use raft_core::consensus::{Body, Message, ReadId, Round, Verdict};
use raft_core::types::{ClusterId, Entry, EntryId, EntryKind, LogIndex, LogSpan, Term};
use raft_net::wire::{
    Chunks, Frame, FrameReader, HIGHEST_VERSION, MAX_BODY_BYTES, MAX_ENTRIES, MAX_HEADER_BYTES,
    NUMBER_LIMIT, PREFIX_BYTES, Unsendable, WireError, encode, keep_alive,
};
use raft_node::{Content, Envelope, Forward, ForwardAnswer};

const CLUSTER: ClusterId = ClusterId(0x0123_4567_89ab_cdef);

fn bytes_of(envelope: &Envelope) -> Vec<u8> {
    let mut chunks = Chunks::new();
    encode(envelope, HIGHEST_VERSION, &mut chunks).expect("within the limits");
    gathered(chunks)
}

fn gathered(mut chunks: Chunks) -> Vec<u8> {
    chunks.copy_to_bytes(chunks.remaining()).to_vec()
}

/// Reads all frames of a stream that arrives in pieces of this many bytes.
fn frames(stream: &[u8], piece: usize) -> Result<Vec<Frame>, WireError> {
    let (mut reader, mut buffer) = (FrameReader::new(HIGHEST_VERSION), BytesMut::new());
    let mut frames = Vec::new();
    for piece in stream.chunks(piece) {
        buffer.extend_from_slice(piece);
        while let Some(frame) = reader.next(&mut buffer)? {
            frames.push(frame);
        }
        let part = PREFIX_BYTES + MAX_HEADER_BYTES.max(MAX_BODY_BYTES);
        assert!(reader.missing(&buffer) <= part, "asks for more than a frame may have");
    }
    Ok(frames)
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..300u64, 0..NUMBER_LIMIT - 1000]
}

fn id() -> impl Strategy<Value = EntryId> {
    (number(), number()).prop_map(|(t, i)| EntryId::new(Term::new(t), LogIndex::new(i)))
}

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

/// A span after a random entry, and the entries that it names.
fn append() -> impl Strategy<Value = (Body, Vec<Entry>)> {
    let lines = vec((0..3u64, 0..5u8, payload()), 0..20);
    (id(), lines, number(), any::<u64>()).prop_map(|(prev, lines, commit, round)| {
        let (mut span, mut entries) = (LogSpan::empty(prev), Vec::new());
        for (rise, kind, payload) in lines {
            let last = span.last_id();
            let id = EntryId::new(Term::new(last.term.get() + rise), last.index.next());
            span.push_run(id.term, id.index).expect("it follows");
            let kind = EntryKind::from_number(kind).expect("a known kind");
            entries.push(Entry::new(id, kind, payload));
        }
        (Body::Append { span, commit: LogIndex::new(commit), round: Round(round) }, entries)
    })
}

fn plain_body() -> impl Strategy<Value = Body> {
    let index = || number().prop_map(LogIndex::new);
    prop_oneof![
        id().prop_map(|last| Body::PreVote { last }),
        (number(), any::<bool>())
            .prop_map(|(t, granted)| Body::PreVoteResponse { asked: Term::new(t), granted }),
        (id(), any::<bool>()).prop_map(|(last, in_transfer)| Body::Vote { last, in_transfer }),
        Just(Body::TimeoutNow),
        any::<bool>().prop_map(|granted| Body::VoteResponse { granted }),
        (index(), any::<u64>()).prop_map(|(matched, round)| Body::AppendResponse {
            verdict: Verdict::Accepted { matched },
            round: Round(round)
        }),
        (index(), id(), any::<u64>()).prop_map(|(refused, hint, round)| Body::AppendResponse {
            verdict: Verdict::Conflict { refused, hint },
            round: Round(round)
        }),
        (any::<u64>(), any::<bool>())
            .prop_map(|(read, by_lease)| Body::ReadIndex { read: ReadId(read), by_lease }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(round, micros)| Body::Promise { round: Round(round), micros }),
        (any::<u64>(), index())
            .prop_map(|(read, index)| Body::ReadIndexResponse { read: ReadId(read), index }),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    let message = prop_oneof![append(), plain_body().prop_map(|body| (body, Vec::new()))];
    prop_oneof![
        (number(), message).prop_map(|(term, (body, entries))| Content::Raft {
            message: Message::new(Term::new(term), body),
            entries: entries.into()
        }),
        (number(), any::<u64>(), any::<u64>(), vec(payload(), 0..20)).prop_map(
            |(term, start, sequence, commands)| Content::Forward(Forward {
                term: Term::new(term),
                start,
                sequence,
                commands
            })
        ),
        vec((0_u8..6, payload()), 0..20).prop_map(|requests| {
            let kind = |number| EntryKind::from_number(number).expect("a known kind");
            let request = |(number, payload)| (kind(number), payload);
            Content::SessionForward(requests.into_iter().map(request).collect())
        }),
        (any::<u64>(), any::<u64>(), proptest::option::of(id())).prop_map(
            |(start, sequence, appended)| Content::ForwardAnswer(ForwardAnswer {
                start,
                sequence,
                appended
            })
        ),
    ]
}

fn envelope() -> impl Strategy<Value = Envelope> {
    (any::<u64>(), content())
        .prop_map(|(cluster, content)| Envelope { cluster: ClusterId(cluster), content })
}

proptest! {
    #[test]
    fn a_decoded_envelope_is_the_same(envelopes in vec(envelope(), 1..5), piece in 1..200usize) {
        let stream: Vec<u8> = envelopes.iter().flat_map(bytes_of).collect();
        let expected: Vec<Frame> = envelopes.into_iter().map(Frame::Envelope).collect();
        prop_assert_eq!(frames(&stream, piece), Ok(expected));
    }

    #[test]
    fn a_changed_byte_is_noticed(envelope in envelope(), at in any::<usize>(), flip in 1..=255u8) {
        let mut stream = bytes_of(&envelope);
        let at = at % stream.len();
        stream[at] ^= flip;
        if let Ok(frames) = frames(&stream, stream.len()) {
            prop_assert!(frames.is_empty(), "took {frames:?}");
        }
    }

    #[test]
    fn the_rest_of_a_partial_frame_is_awaited(envelope in envelope(), cut in any::<usize>()) {
        let stream = bytes_of(&envelope);
        let cut = cut % stream.len();
        prop_assert_eq!(frames(&stream[..cut], 64), Ok(vec![]));
    }

    #[test]
    fn random_bytes_never_panic(stream in vec(any::<u8>(), 0..400), piece in 1..100usize) {
        let _ = frames(&stream, piece);
    }

    /// Random bytes seldom pass a checksum. Here the checksum is correct, so that the header's
    /// decoder gets them.
    #[test]
    fn random_headers_never_panic(
        header in vec(any::<u8>(), 0..200),
        body in vec(any::<u8>(), 0..64),
    ) {
        let stream = framed(&header, &body);
        let _ = frames(&stream, stream.len());
    }

    #[test]
    fn changed_headers_never_panic(
        envelope in envelope(),
        changes in vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        let stream = bytes_of(&envelope);
        let header_end = PREFIX_BYTES + u32_at(&stream, 4) as usize;
        let mut header = stream[PREFIX_BYTES..header_end].to_vec();
        for (at, byte) in changes {
            let at = at % header.len();
            header[at] = byte;
        }
        let stream = framed(&header, &stream[header_end..]);
        let _ = frames(&stream, stream.len());
    }
}

/// A frame with correct checksums, whatever it holds.
fn framed(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = b"KTK".to_vec();
    bytes.push(HIGHEST_VERSION);
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(CLUSTER.0.to_le_bytes());
    bytes.extend(crc32c::crc32c(body).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), header);
    bytes.extend(checksum.to_le_bytes());
    bytes.extend(header);
    bytes.extend(body);
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn refusal(stream: &[u8]) -> WireError {
    frames(stream, stream.len()).expect_err("it must be refused")
}

#[test]
fn payloads_are_not_copied() {
    let payload = Bytes::from(vec![7; 5000]);
    let entry = Entry::new(id_of(1, 1), EntryKind::Command, payload.clone());
    let mut chunks = Chunks::new();
    encode(&append_of(vec![entry]), HIGHEST_VERSION, &mut chunks).expect("within the limits");
    let head = chunks.chunk().len();
    chunks.advance(head);
    assert_eq!(chunks.chunk().as_ptr(), payload.as_ptr(), "the chunk is the payload itself");

    let mut received = BytesMut::from(
        &bytes_of(&append_of(vec![Entry::new(id_of(1, 1), EntryKind::Command, payload)]))[..],
    );
    let block = received.as_ptr() as usize..received.as_ptr() as usize + received.len();
    let frame = FrameReader::new(HIGHEST_VERSION).next(&mut received);
    let Ok(Some(Frame::Envelope(Envelope { content: Content::Raft { entries, .. }, .. }))) = frame
    else {
        panic!("not an append: {frame:?}");
    };
    assert!(block.contains(&(entries[0].payload.as_ptr() as usize)), "a slice of the buffer");
}

#[test]
fn each_limit_is_checked_before_memory_is_allocated() {
    let mut long = framed(&[0], &[]);
    long[4..8].copy_from_slice(&(MAX_HEADER_BYTES as u32 + 1).to_le_bytes());
    assert_eq!(refusal(&long), WireError::HeaderTooLong(MAX_HEADER_BYTES as u64 + 1));
    let mut long = framed(&[0], &[]);
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(refusal(&long), WireError::BodyTooLong(u64::from(u32::MAX)));
    assert_eq!(FrameReader::new(HIGHEST_VERSION).missing(&BytesMut::from(&long[..])), 0);

    let lines = |count: usize| [varint(count as u64), vec![0; count]].concat();
    let forward = |count| framed(&[vec![2, 1, 1, 1], lines(count)].concat(), &[]);
    assert_eq!(frames(&forward(MAX_ENTRIES), usize::MAX).map(|f| f.len()), Ok(1));
    let over = MAX_ENTRIES as u64 + 1;
    assert_eq!(refusal(&forward(MAX_ENTRIES + 1)), WireError::TooManyEntries(over));

    let vote = |index: u64| framed(&[vec![1, 1, 2, 1], varint(index)].concat(), &[]);
    assert_eq!(frames(&vote(NUMBER_LIMIT - 1), usize::MAX).map(|f| f.len()), Ok(1));
    assert_eq!(refusal(&vote(NUMBER_LIMIT)), WireError::Number(NUMBER_LIMIT));
    assert_eq!(refusal(&vote(u64::MAX)), WireError::Number(u64::MAX));
}

#[test]
fn unsound_headers_are_refused_by_name() {
    assert_eq!(refusal(b"GET / HTTP/1.1\r\nHost: a member\r\n\r\n"), WireError::Magic);
    let mut newer = framed(&[0], &[]);
    newer[3] = HIGHEST_VERSION + 1;
    assert_eq!(refusal(&newer), WireError::Version(HIGHEST_VERSION + 1));
    assert_eq!(refusal(&framed(&[0, 0], &[])), WireError::Malformed);
    assert_eq!(refusal(&framed(&[9], &[])), WireError::Malformed);
    assert_eq!(refusal(&framed(&[0], &[1])), WireError::Lengths);
    // An append of one entry after 1@1: term 1, variant 4, prev, last 2, one run, commit, round.
    let append = |last: u8, run_term: u8, kind: u8, length: u8| {
        framed(&[1, 1, 4, 1, 1, last, 1, 2, run_term, 0, 0, 1, kind, length], b"x")
    };
    assert_eq!(frames(&append(2, 1, 1, 1), usize::MAX).map(|f| f.len()), Ok(1));
    assert_eq!(refusal(&append(3, 1, 1, 1)), WireError::EntryCount { span: 2, listed: 1 });
    assert!(matches!(refusal(&append(2, 0, 1, 1)), WireError::Span(_)));
    assert_eq!(refusal(&append(2, 1, 99, 1)), WireError::Kind(99));
    assert_eq!(refusal(&append(2, 1, 1, 2)), WireError::Lengths);
    assert_eq!(refusal(&append(2, 1, 1, 0)), WireError::Lengths);
}

#[test]
fn an_envelope_beyond_the_limits_is_not_sent() {
    let mut chunks = Chunks::new();
    let command = Bytes::from(vec![0; MAX_BODY_BYTES / 2 + 1]);
    let large = forward_of(vec![command.clone(), command]);
    let over = Err(Unsendable::BodyTooLong(MAX_BODY_BYTES + 2));
    assert_eq!(encode(&large, HIGHEST_VERSION, &mut chunks), over);
    let many = forward_of(vec![Bytes::new(); MAX_ENTRIES + 1]);
    let too_many = Err(Unsendable::TooManyEntries(MAX_ENTRIES + 1));
    assert_eq!(encode(&many, HIGHEST_VERSION, &mut chunks), too_many);
    let other = Entry::new(id_of(2, 1), EntryKind::Command, Bytes::new());
    let other = append_of(vec![other]);
    assert_eq!(encode(&other, HIGHEST_VERSION, &mut chunks), Err(Unsendable::NotTheSpan));
    assert_eq!(chunks.remaining(), 0, "a failed encoding adds no bytes");
}

#[test]
fn a_keep_alive_carries_the_cluster() {
    let mut chunks = Chunks::new();
    keep_alive(CLUSTER, HIGHEST_VERSION, &mut chunks);
    assert_eq!(frames(&gathered(chunks), 5), Ok(vec![Frame::KeepAlive(CLUSTER)]));
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn id_of(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

/// An append whose span is one entry of term 1 from the start of the log, with any entries.
fn append_of(entries: Vec<Entry>) -> Envelope {
    let span = LogSpan::of_term(EntryId::ZERO, Term::new(1), 1);
    let body = Body::Append { span, commit: LogIndex::ZERO, round: Round(0) };
    let message = Message::new(Term::new(1), body);
    Envelope { cluster: CLUSTER, content: Content::Raft { message, entries: entries.into() } }
}

fn forward_of(commands: Vec<Bytes>) -> Envelope {
    let forward = Forward { term: Term::new(1), start: 1, sequence: 1, commands };
    Envelope { cluster: CLUSTER, content: Content::Forward(forward) }
}
