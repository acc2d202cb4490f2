//! Requests of sessions: what a member proposes, forwards and sends again, and what it answers.

use raft_core::consensus::Verdict;

use super::levels::raise;
use super::*;
use crate::pump::{ApplyBatch, ReceivedSnapshot, StopReason, TakenSnapshot};
use crate::sessions::{
    SessionAnswer, SessionError, SessionId, SessionLimits, SessionRequest, decode_request,
    encode_request, kind_of, with_time,
};
use crate::{EngineState, SessionTable};

const LIMITS: SessionLimits =
    SessionLimits { timeout: 1000, window: 8, answer_bytes: 100, sessions: 4 };

fn session(index: u64) -> SessionId {
    SessionId(at(index))
}

fn open() -> SessionRequest {
    SessionRequest::Open { token: (1, 2), limits: LIMITS }
}

/// A request of the session that entry 10 opens.
fn run(number: u64) -> SessionRequest {
    let command = Bytes::from_static(b"four");
    SessionRequest::Run { session: session(10), number, acknowledged_below: 1, command }
}

/// The entry of a request.
fn of(request: &SessionRequest, index: u64, term: u64, time: u64) -> Entry {
    let payload = with_time(encode_request(request), time);
    Entry::new(id(index, term), kind_of(request), payload)
}

fn answer(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

type Answers = Vec<(u64, Result<SessionAnswer, SessionError>)>;

fn opened(client: u64) -> Answers {
    vec![(client, Ok(SessionAnswer::Opened { session: session(10), window: 8 }))]
}

fn ran(client: u64, text: &'static str) -> Answers {
    vec![(client, Ok(SessionAnswer::Ran(answer(text))))]
}

fn failed(client: u64, error: SessionError) -> Answers {
    vec![(client, Err(error))]
}

/// The indexes of the commands of a batch, and the positions that are recorded.
fn batch(effects: &Effects<Names>) -> Option<(Vec<u64>, Vec<usize>)> {
    let of = |batch: &ApplyBatch<Names>| {
        let indexes = batch.commands.iter().map(|command| command.id.index.get()).collect();
        (indexes, batch.recorded.clone())
    };
    effects.apply.as_ref().map(of)
}

/// The requests that were forwarded, and to which member.
fn forwarded(effects: &Effects<Names>) -> Vec<(NodeId, usize)> {
    let forward = |(to, envelope): &(NodeId, Envelope)| match &envelope.content {
        Content::SessionForward(requests) => Some((*to, requests.len())),
        _ => None,
    };
    effects.sends.iter().filter_map(forward).collect()
}

impl Rig {
    fn make(&mut self, request: SessionRequest, client: u64) -> Effects<Names> {
        self.turn(Event::Session { request, client })
    }

    fn applied_with(&mut self, answers: &[&'static str]) -> Effects<Names> {
        self.turn(Event::Applied { recorded: answers.iter().map(|text| answer(text)).collect() })
    }

    /// This leader's last entry is durable and committed; what is applied then.
    fn commit_last(&mut self) -> Effects<Names> {
        let mut effects = self.written();
        let last = at(self.last());
        for from in [1, 2] {
            let body = Body::AppendResponse {
                verdict: Verdict::Accepted { matched: last },
                round: Round(0),
            };
            let more = self.message(from, 5, body);
            effects.apply = effects.apply.or(more.apply);
            effects.session_answers.extend(more.session_answers);
            effects.snapshot = effects.snapshot.or(more.snapshot);
        }
        effects
    }

    /// So many ticks pass, in which the other members answer this leader.
    fn lead_for(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.ticks(1);
            self.acknowledge(self.last());
        }
    }

    /// A leader at level 2, and session 10.
    fn with_session() -> Rig {
        let mut rig = Rig::raised();
        rig.make(open(), 1);
        assert_eq!(rig.commit_last().session_answers, opened(1));
        rig
    }

    /// A member that follows node 1 in term 5, at level 2; entry 10 opens a session.
    fn following_with_session() -> Rig {
        let mut rig = Rig::new(3, Limits::default());
        let entries = vec![entry(8, 5), raise(9, 5, 2), of(&open(), 10, 5, 0)];
        rig.append((1, 5), id(7, 4), entries, 10);
        rig.written();
        rig.applied_with(&[]);
        assert_eq!(rig.pump.engine().sessions.len(), 1);
        rig
    }
}

#[test]
fn a_session_needs_the_level_that_has_sessions() {
    let mut rig = Rig::new(3, Limits::default());
    let error = SessionError::FeatureLevel { level: 1, needed: 2 };
    assert_eq!(rig.make(open(), 1).session_answers, failed(1, error));
}

#[test]
fn a_request_runs_once_and_each_of_its_clients_gets_the_first_answer() {
    let mut rig = Rig::with_session();
    rig.make(run(1), 2);
    let effects = rig.commit_last();
    assert_eq!(batch(&effects), Some((vec![11], vec![0])));
    assert_eq!(rig.applied_with(&["first"]).session_answers, ran(2, "first"));
    rig.make(run(1), 3);
    let effects = rig.commit_last();
    assert_eq!(batch(&effects), None, "it does not run again");
    assert_eq!(effects.session_answers, ran(3, "first"));
    assert_eq!(rig.last(), 12, "each time it was an entry");
}

#[test]
fn two_copies_in_one_batch_run_once() {
    let mut rig = Rig::following_with_session();
    rig.make(run(1), 2);
    let entries = vec![of(&run(1), 11, 5, 0), entry(12, 5), of(&run(1), 13, 5, 0)];
    rig.append((1, 5), id(10, 5), entries, 13);
    assert_eq!(batch(&rig.written()), Some((vec![11, 12], vec![0])));
    assert_eq!(rig.applied_with(&["first"]).session_answers, ran(2, "first"));
}

#[test]
fn a_request_of_an_unknown_session_or_an_acknowledged_number_never_runs() {
    let mut rig = Rig::with_session();
    let unknown = SessionRequest::Run {
        session: session(7),
        number: 1,
        acknowledged_below: 1,
        command: answer("four"),
    };
    rig.make(unknown, 2);
    let effects = rig.commit_last();
    assert_eq!(batch(&effects), None);
    let error = SessionError::UnknownSession(session(7));
    assert_eq!(effects.session_answers, failed(2, error));
    let SessionRequest::Run { session, command, .. } = run(1) else { unreachable!() };
    rig.make(SessionRequest::Run { session, number: 3, acknowledged_below: 3, command }, 3);
    rig.commit_last();
    rig.applied_with(&["third"]);
    rig.make(run(2), 4);
    let effects = rig.commit_last();
    assert_eq!(batch(&effects), None);
    assert_eq!(effects.session_answers, failed(4, SessionError::Acknowledged { number: 2 }));
}

#[test]
fn a_session_expires_by_the_ticks_that_leaders_write_into_the_log() {
    let mut rig = Rig::with_session();
    let time = |rig: &mut Rig| {
        let effects = rig.make(run(1), 2);
        let entry = effects.write.expect("a write").append.remove(0);
        decode_request(entry.kind, &entry.payload).expect("a request").1
    };
    let before = time(&mut rig);
    rig.commit_last();
    rig.applied_with(&["first"]);
    rig.lead_for(1000);
    assert_eq!(time(&mut rig), before + 1000);
    let effects = rig.commit_last();
    assert_eq!(effects.session_answers, ran(2, "first"), "the timeout is not over");
    rig.lead_for(1001);
    assert_eq!(time(&mut rig), before + 2001);
    let effects = rig.commit_last();
    let error = SessionError::UnknownSession(session(10));
    assert_eq!(effects.session_answers, failed(2, error));
    assert!(rig.pump.engine().sessions.is_empty());
}

/// A new leader goes on from the time in the log, whatever its own ticks are.
#[test]
fn the_log_time_does_not_depend_on_the_ticks_of_a_member() {
    let mut rig = Rig::following_with_session();
    rig.ticks(5);
    rig.append((1, 5), id(10, 5), vec![of(&run(1), 11, 5, 700)], 11);
    rig.written();
    rig.applied_with(&["first"]);
    assert_eq!(rig.pump.engine().sessions.time(), 700);
    rig.append((1, 5), id(11, 5), vec![of(&run(2), 12, 5, 600)], 12);
    rig.written();
    rig.applied_with(&["second"]);
    assert_eq!(rig.pump.engine().sessions.time(), 700, "it never goes back");
}

#[test]
fn a_follower_forwards_a_request_until_it_is_answered() {
    let mut rig = Rig::following_with_session();
    let effects = rig.make(run(1), 2);
    assert_eq!(forwarded(&effects), [(node(1), 1)]);
    let mut again = 0;
    for _ in 0..400 {
        rig.append((1, 5), id(10, 5), vec![], 10);
        again += forwarded(&rig.ticks(1)).len();
    }
    assert!((2..10).contains(&again), "{again} times, with a pause that doubles");
    let effects = rig.append((2, 6), id(10, 5), vec![], 10);
    assert_eq!(forwarded(&effects), []);
    assert_eq!(forwarded(&rig.ticks(1)), [(node(2), 1)], "a new leader gets it at once");
    rig.append((2, 6), id(10, 5), vec![of(&run(1), 11, 6, 0)], 11);
    rig.written();
    rig.written();
    assert_eq!(rig.applied_with(&["first"]).session_answers, ran(2, "first"));
}

#[test]
fn a_request_without_a_leader_waits_until_its_deadline() {
    let limits = Limits { proposal_ticks: 20, ..Limits::default() };
    let mut rig = Rig::new(3, limits);
    rig.pump.resume(EngineState { level: 2, sessions: SessionTable::default() }, at(7));
    rig.make(open(), 1);
    assert!(rig.ticks(19).session_answers.is_empty());
    assert_eq!(rig.ticks(1).session_answers, failed(1, SessionError::Unknown));
    assert!(rig.pump.is_idle());
}

#[test]
fn a_leader_appends_what_is_forwarded_and_refuses_what_is_malformed() {
    let mut rig = Rig::with_session();
    let request = run(1);
    let sound = (kind_of(&request), encode_request(&request));
    let forward = |requests| Content::SessionForward(requests);
    rig.deliver(1, forward(vec![sound.clone(), sound.clone()]));
    assert_eq!(rig.last(), 12);
    let broken = (EntryKind::SessionCommand, answer("broken"));
    rig.deliver(1, forward(vec![sound, broken]));
    rig.deliver(1, forward(vec![(EntryKind::Command, answer("a command"))]));
    assert_eq!((rig.last(), rig.pump.counters().malformed), (12, 2));
}

/// What a busy leader drops, its origin sends again.
#[test]
fn a_leader_whose_disk_is_behind_appends_no_requests() {
    let limits = Limits { unwritten_bytes: 10, ..Limits::default() };
    let mut rig = Rig::with_session();
    rig.pump.limits = limits;
    rig.make(run(1), 2);
    assert_eq!(rig.last(), 11, "the disk was idle");
    rig.make(run(2), 3);
    let request = run(3);
    let forwarded = vec![(kind_of(&request), encode_request(&request))];
    rig.deliver(1, Content::SessionForward(forwarded));
    assert_eq!(rig.last(), 11);
    rig.commit_last();
    rig.ticks(1);
    assert_eq!(rig.last(), 12, "its own client's request is tried again");
}

#[test]
fn the_table_is_in_snapshots_and_is_installed_with_them() {
    let mut rig = Rig::with_session();
    rig.pump.enable_snapshots(None);
    rig.make(run(1), 2);
    rig.commit_last();
    rig.turn(Event::TakeSnapshot { client: 1 });
    let plan = rig.applied_with(&["first"]).snapshot.expect("pinned");
    assert_eq!(plan.engine, *rig.pump.engine());
    let mut other = Rig::new(3, Limits::default());
    other.pump.enable_snapshots(None);
    other.append((1, 5), id(7, 4), vec![], 7);
    other.written();
    other.install(plan.last, plan.membership, plan.engine.clone());
    assert_eq!(*other.pump.engine(), plan.engine);
    other.make(run(1), 4);
    other.append((1, 5), plan.last, vec![of(&run(1), 12, 5, 0)], 12);
    let mut answers = other.written().session_answers;
    answers.extend(other.written().session_answers);
    assert_eq!(answers, ran(4, "first"));
}

impl Rig {
    /// Installs a snapshot, as if it had been received.
    fn install(&mut self, last: EntryId, membership: Arc<Membership>, engine: EngineState) {
        let id = crate::SnapshotId { last, salt: 1 };
        let term = self.pump.raft().term();
        let offer = crate::SnapshotMessage::Offer { term, id, bytes: 4 };
        self.deliver(1, Content::Snapshot(offer));
        let bytes = answer("file");
        let chunk = crate::SnapshotMessage::Chunk { id, offset: 0, bytes };
        let effects = self.deliver(1, Content::Snapshot(chunk));
        assert!(!effects.transfers.is_empty());
        self.turn(Event::Spooled { number: 1, result: Ok(()) });
        let taken = TakenSnapshot { last, salt: 1, bytes: 4 };
        let received = ReceivedSnapshot { taken, membership, engine };
        assert!(self.turn(Event::Kept(Ok(received))).restore.is_some());
        self.turn(Event::Restored);
    }
}

/// A state machine that keeps its state has run the requests: they do not run again, and their
/// answers are gone.
#[test]
fn requests_that_the_state_machine_has_are_known_to_have_run() {
    let start = Start { last: at(11), commit: at(11), ..Rig::start(3) };
    let mut rig = Rig::starting_from(start, Limits::default());
    rig.pump.resume(EngineState::default(), at(11));
    let fetch = rig.ticks(1).fetches[0];
    let entries = vec![entry(8, 4), raise(9, 4, 2), of(&open(), 10, 4, 0), of(&run(1), 11, 4, 0)];
    let effects = rig.turn(Event::Fetched { fetch: fetch.id, result: Ok(entries) });
    assert_eq!(batch(&effects), None);
    rig.make(run(1), 2);
    rig.append((1, 5), id(11, 4), vec![of(&run(1), 12, 5, 0)], 12);
    let effects = rig.written();
    assert_eq!(batch(&effects), None);
    assert_eq!(effects.session_answers, failed(2, SessionError::AnswerDropped { number: 1 }));
}

#[test]
fn bytes_of_a_newer_version_stop_the_member() {
    let mut rig = Rig::following_with_session();
    let newer = Entry::new(id(11, 5), EntryKind::SessionCommand, answer("newer"));
    rig.append((1, 5), id(10, 5), vec![newer], 11);
    let effects = rig.written();
    assert!(matches!(effects.stop, Some(StopReason::UnknownEntry { .. })), "{:?}", effects.stop);
}

#[test]
fn the_clients_of_a_member_that_ends_are_answered() {
    let mut rig = Rig::following_with_session();
    rig.make(run(1), 2);
    assert_eq!(rig.turn(Event::Close).session_answers, failed(2, SessionError::Closed));
    assert_eq!(rig.make(run(1), 3).session_answers, failed(3, SessionError::Closed));
}

#[test]
fn what_waits_is_limited() {
    let limits = Limits { proposal_bytes: 80, ..Limits::default() };
    let mut rig = Rig::following_with_session();
    rig.pump.limits = limits;
    assert!(rig.make(run(1), 1).session_answers.is_empty());
    assert!(rig.make(run(2), 2).session_answers.is_empty());
    assert_eq!(rig.make(run(3), 3).session_answers, failed(3, SessionError::Busy));
    for client in 4..19 {
        assert!(rig.make(run(1), client).session_answers.is_empty(), "the same request");
    }
    assert_eq!(rig.make(run(1), 19).session_answers, failed(19, SessionError::Busy));
}

/// What went wrong: each time a client tried again while no leader was known, the request was noted
/// once more, without a limit, and all of them were sent to the next leader.
#[test]
fn a_request_that_is_tried_again_without_a_leader_is_forwarded_once() {
    let mut rig = Rig::new(3, Limits { proposal_ticks: 20, ..Limits::default() });
    rig.pump.resume(EngineState { level: 2, sessions: SessionTable::default() }, at(7));
    for client in 1..=5 {
        rig.make(run(1), client);
        assert_eq!(rig.ticks(20).session_answers, failed(client, SessionError::Unknown));
    }
    assert_eq!(rig.pump.sessions.waiting_and_due(), (0, 0));
    rig.make(run(1), 6);
    assert_eq!(rig.pump.sessions.waiting_and_due(), (1, 1));
    assert_eq!(forwarded(&rig.append((1, 50), id(7, 4), vec![], 7)), [(node(1), 1)]);
}

/// What went wrong: a request that was answered while no leader was known stayed noted as due.
#[test]
fn a_request_that_is_answered_without_a_leader_is_no_longer_due() {
    let mut rig = Rig::following_with_session();
    rig.make(run(1), 2);
    rig.append((1, 5), id(10, 5), vec![of(&run(1), 11, 5, 0)], 11);
    assert_eq!(batch(&rig.written()), Some((vec![11], vec![0])));
    rig.message(1, 6, Body::Vote { last: id(11, 5), in_transfer: true });
    rig.ticks(1);
    assert_eq!(rig.pump.sessions.waiting_and_due(), (1, 1), "no leader is known");
    assert_eq!(rig.applied_with(&["first"]).session_answers, ran(2, "first"));
    assert_eq!(rig.pump.sessions.waiting_and_due(), (0, 0));
}

/// What went wrong: only commands that ran counted, so entries of sessions that run nothing made
/// no snapshot due, and the log was never purged.
#[test]
fn entries_of_sessions_that_run_nothing_make_a_snapshot_due() {
    let mut rig = Rig::following_with_session();
    rig.pump.limits.snapshot_bytes = 3 * 37;
    let newest = TakenSnapshot { last: id(10, 5), salt: 1, bytes: 4 };
    rig.pump.enable_snapshots(Some(newest));
    let unknown = |index| {
        let command = answer("four");
        let number = 1;
        let session = session(7);
        of(&SessionRequest::Run { session, number, acknowledged_below: 1, command }, index, 5, 0)
    };
    let mut pins = Vec::new();
    for index in 11..=16 {
        let last = rig.pump.raft().last();
        rig.append((1, 5), last, vec![unknown(index)], index);
        let effects = rig.written();
        assert_eq!(batch(&effects), None);
        pins.extend(effects.snapshot.map(|plan| plan.last.index.get()));
    }
    assert_eq!(pins, [13], "three entries of 37 bytes");
}

/// What went wrong: a member that had just started again, and had not applied the log, answered a
/// request that had run with an error that said that nothing had happened.
#[test]
fn a_member_that_has_not_applied_the_log_forwards_requests_of_sessions() {
    let mut rig = Rig::new(3, Limits::default());
    rig.append((1, 5), id(7, 4), vec![], 7);
    assert_eq!(rig.pump.feature_level(), 1);
    for request in [run(1), SessionRequest::Close { session: session(10) }] {
        let effects = rig.make(request, 2);
        assert_eq!(forwarded(&effects), [(node(1), 1)]);
        assert_eq!(effects.session_answers, []);
    }
}

/// What went wrong: a peer's number near the greatest one was applied, and no member could read
/// its snapshots any more.
#[test]
fn numbers_that_are_too_large_are_not_appended() {
    let mut rig = Rig::with_session();
    for (number, acknowledged_below) in [(u64::MAX, 1), (u64::MAX, u64::MAX), (1, 1 << 62)] {
        let (session, command) = (session(10), answer("four"));
        let request = SessionRequest::Run { session, number, acknowledged_below, command };
        let forward = vec![(kind_of(&request), encode_request(&request))];
        rig.deliver(1, Content::SessionForward(forward));
    }
    assert_eq!((rig.last(), rig.pump.counters().malformed), (10, 3));
}

/// What went wrong: a leader that found the greatest time in its log overflowed.
#[test]
fn the_log_time_does_not_overflow() {
    let mut rig = Rig::following_with_session();
    rig.append((1, 5), id(10, 5), vec![of(&run(1), 11, 5, u64::MAX)], 11);
    rig.written();
    rig.applied_with(&["first"]);
    let asks = |effects: &Effects<Names>| effects.write.is_some();
    (0..200).map(|_| rig.ticks(1)).find(asks).expect("it votes for itself");
    rig.written();
    let term = rig.pump.raft().term().get();
    rig.message(1, term, Body::VoteResponse { granted: true });
    rig.written();
    rig.acknowledge(12);
    rig.ticks(3);
    rig.make(run(2), 2);
    assert_eq!(rig.last(), 13, "it is appended");
}
