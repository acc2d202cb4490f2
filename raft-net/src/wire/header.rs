//! The header's types in all versions, and the conversion to and from the engine's types.
//!
//! The order of variants and fields is the format (`docs/formats/wire.md`): it is never changed,
//! and new variants come last. Each variant has a version since which it exists. Values from a peer
//! that the engine's types must not hold (falling terms, unknown kinds, numbers so high that
//! arithmetic would overflow) are refused here.

use bytes::Bytes;
use raft_core::consensus::{Body, Message, ReadId, Round, Verdict};
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, LogSpan, Term, TermRun};
use raft_node::{Content, Forward, ForwardAnswer, SnapshotId, SnapshotMessage};
use serde::{Deserialize, Serialize};

use super::{MAX_ENTRIES, NUMBER_LIMIT, Unsendable, WireError};

/// The content of a frame, without its payloads.
#[derive(Debug, Serialize, Deserialize)]
pub enum Header {
    KeepAlive,
    Message { term: u64, body: HeaderBody },
    Forward { term: u64, start: u64, sequence: u64, lengths: Vec<u32> },
    ForwardAnswer { start: u64, sequence: u64, appended: Option<Id> },
    Snapshot { last: Id, salt: u64, step: Step },
    SessionForward { requests: Vec<EntryLine> },
}

/// A step of the transfer of a snapshot file.
#[derive(Debug, Serialize, Deserialize)]
pub enum Step {
    Offer { term: u64, bytes: u64 },
    Request { offset: u64, most: u32 },
    Chunk { offset: u64, length: u32 },
    Gone,
    Restoring,
    Damaged,
}

/// The content of a message.
#[derive(Debug, Serialize, Deserialize)]
pub enum HeaderBody {
    PreVote { last: Id },
    PreVoteResponse { asked: u64, granted: bool },
    Vote { last: Id },
    VoteResponse { granted: bool },
    Append(Append),
    Accepted { matched: u64, round: u64 },
    Conflict { refused: u64, hint: Id, round: u64 },
    ReadIndex { read: u64 },
    ReadIndexResponse { read: u64, index: u64 },
    TimeoutNow,
    VoteInTransfer { last: Id },
    Promise { round: u64, micros: u64 },
    ReadIndexByLease { read: u64 },
}

/// An append: the ids of its entries as a span, then kind and length of each.
#[derive(Debug, Serialize, Deserialize)]
pub struct Append {
    prev: Id,
    last: u64,
    runs: Vec<Run>,
    commit: u64,
    round: u64,
    entries: Vec<EntryLine>,
}

/// The id of an entry.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Id {
    term: u64,
    index: u64,
}

/// Where a term begins.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Run {
    first: u64,
    term: u64,
}

/// An entry's kind and the length of its payload.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct EntryLine {
    kind: u8,
    length: u32,
}

impl Header {
    /// The header of this content in this version.
    pub fn of(content: &Content, version: u8) -> Result<Header, Unsendable> {
        Ok(match content {
            Content::Raft { message, entries } => {
                let body = body(&message.body, entries, version)?;
                Header::Message { term: message.term.get(), body }
            }
            Content::Forward(forward) => Header::Forward {
                term: forward.term.get(),
                start: forward.start,
                sequence: forward.sequence,
                lengths: lengths(&forward.commands)?,
            },
            Content::ForwardAnswer(answer) => Header::ForwardAnswer {
                start: answer.start,
                sequence: answer.sequence,
                appended: answer.appended.map(Id::from),
            },
            Content::SessionForward(requests) if version >= 4 => {
                let lengths = lengths(requests.iter().map(|(_, payload)| payload))?;
                let lines = requests.iter().zip(lengths);
                let lines = lines.map(|((kind, _), length)| {
                    let kind = kind.number();
                    EntryLine { kind, length }
                });
                Header::SessionForward { requests: lines.collect() }
            }
            Content::SessionForward(_) => {
                let what = "requests of sessions";
                return Err(Unsendable::Version { what, needed: 4, agreed: version });
            }
            Content::Snapshot(message) if version >= 3 => snapshot(message)?,
            Content::Snapshot(_) => {
                let what = "a step of the transfer of a snapshot";
                return Err(Unsendable::Version { what, needed: 3, agreed: version });
            }
        })
    }

    /// The first version that has this header.
    pub fn since(&self) -> u8 {
        match self {
            Header::Message { body, .. } => body.since(),
            Header::Snapshot { .. } => 3,
            Header::SessionForward { .. } => 4,
            Header::KeepAlive | Header::Forward { .. } | Header::ForwardAnswer { .. } => 1,
        }
    }

    /// The content that was sent. The payloads are slices of `payloads`, which they must fill
    /// exactly. `None` for a keep-alive.
    pub fn into_content(self, payloads: Bytes) -> Result<Option<Content>, WireError> {
        let mut cutter = Cutter(payloads);
        let content = match self {
            Header::KeepAlive => None,
            Header::Message { term, body } => {
                let (body, entries) = body.into_body(&mut cutter)?;
                let message = Message::new(self::term(term)?, body);
                Some(Content::Raft { message, entries: entries.into() })
            }
            Header::Forward { term, start, sequence, lengths } => {
                check_count(lengths.len())?;
                let commands: Result<_, _> = lengths.iter().map(|l| cutter.cut(*l)).collect();
                let (term, commands) = (self::term(term)?, commands?);
                Some(Content::Forward(Forward { term, start, sequence, commands }))
            }
            Header::ForwardAnswer { start, sequence, appended } => {
                let appended = appended.map(EntryId::try_from).transpose()?;
                Some(Content::ForwardAnswer(ForwardAnswer { start, sequence, appended }))
            }
            Header::Snapshot { last, salt, step } => {
                let id = SnapshotId { last: last.try_into()?, salt };
                Some(Content::Snapshot(step.into_message(id, &mut cutter)?))
            }
            Header::SessionForward { requests } => {
                check_count(requests.len())?;
                let request = |line: &EntryLine| Ok((line.kind()?, cutter.cut(line.length)?));
                let requests: Result<_, WireError> = requests.iter().map(request).collect();
                Some(Content::SessionForward(requests?))
            }
        };
        cutter.finish().map(|()| content)
    }
}

impl Step {
    fn into_message(
        self,
        id: SnapshotId,
        cutter: &mut Cutter,
    ) -> Result<SnapshotMessage, WireError> {
        Ok(match self {
            Step::Offer { term: of, bytes } => {
                SnapshotMessage::Offer { term: term(of)?, id, bytes: checked(bytes)? }
            }
            Step::Request { offset, most } => {
                SnapshotMessage::Request { id, offset: checked(offset)?, most }
            }
            Step::Chunk { offset, length } => {
                let (offset, bytes) = (checked(offset)?, cutter.cut(length)?);
                SnapshotMessage::Chunk { id, offset, bytes }
            }
            Step::Gone => SnapshotMessage::Gone { id },
            Step::Restoring => SnapshotMessage::Restoring { id },
            Step::Damaged => SnapshotMessage::Damaged { id },
        })
    }
}

fn snapshot(message: &SnapshotMessage) -> Result<Header, Unsendable> {
    let (id, step) = match message {
        SnapshotMessage::Offer { term, id, bytes } => {
            (id, Step::Offer { term: term.get(), bytes: *bytes })
        }
        SnapshotMessage::Request { id, offset, most } => {
            (id, Step::Request { offset: *offset, most: *most })
        }
        SnapshotMessage::Chunk { id, offset, bytes } => {
            let [length] = lengths([bytes])?[..] else { unreachable!("one payload") };
            (id, Step::Chunk { offset: *offset, length })
        }
        SnapshotMessage::Gone { id } => (id, Step::Gone),
        SnapshotMessage::Restoring { id } => (id, Step::Restoring),
        SnapshotMessage::Damaged { id } => (id, Step::Damaged),
    };
    Ok(Header::Snapshot { last: id.last.into(), salt: id.salt, step })
}

impl HeaderBody {
    fn since(&self) -> u8 {
        match self {
            HeaderBody::Promise { .. } | HeaderBody::ReadIndexByLease { .. } => 5,
            HeaderBody::TimeoutNow | HeaderBody::VoteInTransfer { .. } => 2,
            _ => 1,
        }
    }

    fn into_body(self, cutter: &mut Cutter) -> Result<(Body, Vec<Entry>), WireError> {
        let body = match self {
            HeaderBody::PreVote { last } => Body::PreVote { last: last.try_into()? },
            HeaderBody::PreVoteResponse { asked, granted } => {
                Body::PreVoteResponse { asked: term(asked)?, granted }
            }
            HeaderBody::Vote { last } => Body::Vote { last: last.try_into()?, in_transfer: false },
            HeaderBody::VoteResponse { granted } => Body::VoteResponse { granted },
            HeaderBody::Append(append) => return append.into_body(cutter),
            HeaderBody::Accepted { matched, round } => {
                let verdict = Verdict::Accepted { matched: index(matched)? };
                Body::AppendResponse { verdict, round: Round(round) }
            }
            HeaderBody::Conflict { refused, hint, round } => {
                let verdict =
                    Verdict::Conflict { refused: index(refused)?, hint: hint.try_into()? };
                Body::AppendResponse { verdict, round: Round(round) }
            }
            HeaderBody::ReadIndex { read } => {
                Body::ReadIndex { read: ReadId(read), by_lease: false }
            }
            HeaderBody::ReadIndexByLease { read } => {
                Body::ReadIndex { read: ReadId(read), by_lease: true }
            }
            HeaderBody::Promise { round, micros } => Body::Promise { round: Round(round), micros },
            HeaderBody::ReadIndexResponse { read, index: at } => {
                Body::ReadIndexResponse { read: ReadId(read), index: index(at)? }
            }
            HeaderBody::TimeoutNow => Body::TimeoutNow,
            HeaderBody::VoteInTransfer { last } => {
                Body::Vote { last: last.try_into()?, in_transfer: true }
            }
        };
        Ok((body, Vec::new()))
    }
}

impl EntryLine {
    fn kind(self) -> Result<EntryKind, WireError> {
        EntryKind::from_number(self.kind).ok_or(WireError::Kind(self.kind))
    }
}

impl Append {
    fn into_body(self, cutter: &mut Cutter) -> Result<(Body, Vec<Entry>), WireError> {
        check_count(self.entries.len())?;
        let runs: Result<Vec<TermRun>, WireError> =
            self.runs.iter().map(|run| TermRun::try_from(*run)).collect();
        let span = LogSpan::new(self.prev.try_into()?, runs?, index(self.last)?)?;
        let listed = self.entries.len() as u64;
        if span.len() != listed {
            return Err(WireError::EntryCount { span: span.len(), listed });
        }
        let mut entries = Vec::with_capacity(self.entries.len());
        for (id, line) in ids(&span).zip(&self.entries) {
            entries.push(Entry::new(id, line.kind()?, cutter.cut(line.length)?));
        }
        let (commit, round) = (index(self.commit)?, Round(self.round));
        Ok((Body::Append { span, commit, round }, entries))
    }
}

/// The payloads of a frame that are not yet taken, in order.
struct Cutter(Bytes);

impl Cutter {
    fn cut(&mut self, length: u32) -> Result<Bytes, WireError> {
        match length as usize {
            length if length > self.0.len() => Err(WireError::Lengths),
            length => Ok(self.0.split_to(length)),
        }
    }

    fn finish(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Lengths) }
    }
}

fn body(body: &Body, entries: &[Entry], version: u8) -> Result<HeaderBody, Unsendable> {
    if !entries.is_empty() && !matches!(body, Body::Append { .. }) {
        return Err(Unsendable::NotTheSpan);
    }
    Ok(match body {
        Body::PreVote { last } => HeaderBody::PreVote { last: (*last).into() },
        Body::PreVoteResponse { asked, granted } => {
            HeaderBody::PreVoteResponse { asked: asked.get(), granted: *granted }
        }
        Body::Vote { last, in_transfer: true } if version >= 2 => {
            HeaderBody::VoteInTransfer { last: (*last).into() }
        }
        // To an older peer the request is sent without the mark: a peer that hears its leader then
        // does not answer, and the others vote.
        Body::Vote { last, .. } => HeaderBody::Vote { last: (*last).into() },
        Body::VoteResponse { granted } => HeaderBody::VoteResponse { granted: *granted },
        Body::Append { span, commit, round } => {
            HeaderBody::Append(append(span, *commit, *round, entries)?)
        }
        Body::AppendResponse { verdict: Verdict::Accepted { matched }, round } => {
            HeaderBody::Accepted { matched: matched.get(), round: round.0 }
        }
        Body::AppendResponse { verdict: Verdict::Conflict { refused, hint }, round } => {
            HeaderBody::Conflict { refused: refused.get(), hint: (*hint).into(), round: round.0 }
        }
        Body::ReadIndex { read, by_lease: true } if version >= 5 => {
            HeaderBody::ReadIndexByLease { read: read.0 }
        }
        // An older leader asks a majority, as it does for any read.
        Body::ReadIndex { read, .. } => HeaderBody::ReadIndex { read: read.0 },
        Body::ReadIndexResponse { read, index } => {
            HeaderBody::ReadIndexResponse { read: read.0, index: index.get() }
        }
        Body::TimeoutNow if version >= 2 => HeaderBody::TimeoutNow,
        Body::TimeoutNow => {
            let what = "a request to campaign";
            return Err(Unsendable::Version { what, needed: 2, agreed: version });
        }
        Body::Promise { round, micros } if version >= 5 => {
            HeaderBody::Promise { round: round.0, micros: *micros }
        }
        Body::Promise { .. } => {
            let what = "a promise for a lease";
            return Err(Unsendable::Version { what, needed: 5, agreed: version });
        }
    })
}

fn append(
    span: &LogSpan,
    commit: LogIndex,
    round: Round,
    entries: &[Entry],
) -> Result<Append, Unsendable> {
    let same_ids = ids(span).eq(entries.iter().map(|entry| entry.id));
    if !same_ids {
        return Err(Unsendable::NotTheSpan);
    }
    let lengths = lengths(entries.iter().map(|entry| &entry.payload))?;
    let lines = entries.iter().zip(lengths);
    Ok(Append {
        prev: span.prev().into(),
        last: span.last().get(),
        runs: span.runs().map(Run::from).collect(),
        commit: commit.get(),
        round: round.0,
        entries: lines.map(|(e, length)| EntryLine { kind: e.kind.number(), length }).collect(),
    })
}

/// The ids of a span's entries, in order. It walks the runs once; a lookup of each term would
/// search the runs for each entry.
fn ids(span: &LogSpan) -> impl Iterator<Item = EntryId> + '_ {
    let mut runs = span.runs().peekable();
    let mut term = span.prev().term;
    (span.first().get()..=span.last().get()).map(LogIndex::new).map(move |index| {
        if let Some(run) = runs.next_if(|run| run.first == index) {
            term = run.term;
        }
        EntryId::new(term, index)
    })
}

fn lengths<'a>(
    payloads: impl IntoIterator<Item = &'a Bytes, IntoIter: ExactSizeIterator>,
) -> Result<Vec<u32>, Unsendable> {
    let payloads = payloads.into_iter();
    if payloads.len() > MAX_ENTRIES {
        return Err(Unsendable::TooManyEntries(payloads.len()));
    }
    let length = |payload: &Bytes| u32::try_from(payload.len());
    payloads.map(|p| length(p).map_err(|_| Unsendable::BodyTooLong(p.len()))).collect()
}

fn check_count(count: usize) -> Result<(), WireError> {
    if count > MAX_ENTRIES { Err(WireError::TooManyEntries(count as u64)) } else { Ok(()) }
}

fn term(number: u64) -> Result<Term, WireError> {
    checked(number).map(Term::new)
}

fn index(number: u64) -> Result<LogIndex, WireError> {
    checked(number).map(LogIndex::new)
}

fn checked(number: u64) -> Result<u64, WireError> {
    if number < NUMBER_LIMIT { Ok(number) } else { Err(WireError::Number(number)) }
}

impl From<EntryId> for Id {
    fn from(id: EntryId) -> Id {
        Id { term: id.term.get(), index: id.index.get() }
    }
}

impl TryFrom<Id> for EntryId {
    type Error = WireError;

    fn try_from(id: Id) -> Result<EntryId, WireError> {
        Ok(EntryId::new(term(id.term)?, index(id.index)?))
    }
}

impl From<TermRun> for Run {
    fn from(run: TermRun) -> Run {
        Run { first: run.first.get(), term: run.term.get() }
    }
}

impl TryFrom<Run> for TermRun {
    type Error = WireError;

    fn try_from(run: Run) -> Result<TermRun, WireError> {
        Ok(TermRun { first: index(run.first)?, term: term(run.term)? })
    }
}
