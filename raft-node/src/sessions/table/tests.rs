//! What the table does with entries, and that it does not depend on where batches end.

use super::*;

const LIMITS: SessionLimits =
    SessionLimits { timeout: 1000, window: 4, answer_bytes: 10, sessions: 3 };

fn at(index: u64) -> LogIndex {
    LogIndex::new(index)
}

fn id(index: u64) -> SessionId {
    SessionId(at(index))
}

/// A table with session 1, opened at time 5.
fn table() -> SessionTable {
    let mut table = SessionTable::default();
    assert_eq!(open(&mut table, 1, 5), Decision::Opened(id(1), 4));
    table
}

fn open(table: &mut SessionTable, index: u64, time: u64) -> Decision {
    let open = SessionRequest::Open { token: (7, index), limits: LIMITS };
    table.apply(at(index), open, time, 0)
}

/// Applies a request of session 1; it runs as run 0 of its batch.
fn run(table: &mut SessionTable, number: u64, acknowledged_below: u64, time: u64) -> Decision {
    let command = Bytes::from_static(b"run");
    let request = SessionRequest::Run { session: id(1), number, acknowledged_below, command };
    table.apply(at(100), request, time, 0)
}

fn record(table: &mut SessionTable, number: u64, answer: &'static [u8]) {
    table.record(id(1), number, Some(&Bytes::from_static(answer)));
}

/// Applies a request that must run, and records its answer.
fn ran(table: &mut SessionTable, number: u64, answer: &'static [u8]) {
    assert_eq!(run(table, number, 1, 5), Decision::Run(Bytes::from_static(b"run")));
    record(table, number, answer);
}

fn answered(answer: &'static [u8]) -> Decision {
    Decision::Answered(Bytes::from_static(answer))
}

#[test]
fn a_request_runs_once_and_a_copy_gets_the_first_answer() {
    let mut table = table();
    assert_eq!(run(&mut table, 1, 1, 5), Decision::Run(Bytes::from_static(b"run")));
    assert_eq!(run(&mut table, 1, 1, 5), Decision::Repeats(0), "the answer is not known yet");
    record(&mut table, 1, b"one");
    assert_eq!(run(&mut table, 1, 1, 6), answered(b"one"));
}

#[test]
fn requests_may_come_in_any_order_within_the_window() {
    let mut table = table();
    ran(&mut table, 4, b"4");
    ran(&mut table, 2, b"2");
    let beyond = Decision::Refused(SessionError::TooFarAhead { number: 5 });
    assert_eq!(run(&mut table, 5, 1, 5), beyond);
    let beyond = Decision::Refused(SessionError::TooFarAhead { number: u64::MAX });
    assert_eq!(run(&mut table, u64::MAX, 1, 5), beyond);
    ran(&mut table, 1, b"1");
    assert_eq!(run(&mut table, 4, 1, 5), answered(b"4"));
}

#[test]
fn answers_are_dropped_once_they_are_acknowledged_and_lower_numbers_are_refused() {
    let mut table = table();
    ran(&mut table, 1, b"1");
    ran(&mut table, 2, b"2");
    assert_eq!(run(&mut table, 3, 2, 5), Decision::Run(Bytes::from_static(b"run")));
    let refused = Decision::Refused(SessionError::Acknowledged { number: 1 });
    assert_eq!(run(&mut table, 1, 1, 5), refused);
    assert_eq!(run(&mut table, 2, 1, 5), answered(b"2"), "what was acknowledged stays so");
    assert_eq!(
        run(&mut table, 0, 0, 5),
        Decision::Refused(SessionError::Acknowledged { number: 0 })
    );
    assert_eq!(run(&mut table, 2, 9, 5), answered(b"2"), "no request acknowledges itself");
}

#[test]
fn the_answers_with_the_highest_numbers_that_fit_are_kept() {
    let mut table = table();
    ran(&mut table, 2, b"22222");
    ran(&mut table, 1, b"11111");
    assert_eq!(run(&mut table, 1, 1, 5), answered(b"11111"));
    ran(&mut table, 3, b"3");
    let dropped = |number| Decision::Refused(SessionError::AnswerDropped { number });
    assert_eq!(run(&mut table, 1, 1, 5), dropped(1), "it ran, and does not run again");
    assert_eq!(run(&mut table, 2, 1, 5), answered(b"22222"));
    ran(&mut table, 4, b"more than ten");
    for number in 1..=4 {
        assert_eq!(run(&mut table, number, 1, 5), dropped(number));
    }
}

#[test]
fn a_session_expires_by_the_time_in_the_log_and_never_runs_again() {
    let mut table = table();
    ran(&mut table, 1, b"1");
    assert_eq!(run(&mut table, 1, 1, 1005), answered(b"1"), "the timeout is not over");
    assert_eq!(run(&mut table, 1, 1, 3), answered(b"1"), "time never goes back");
    assert_eq!(table.time(), 1005);
    let unknown = Decision::Refused(SessionError::UnknownSession(id(1)));
    assert_eq!(run(&mut table, 2, 1, 2006), unknown);
    assert!(table.is_empty());
    assert_eq!(run(&mut table, 2, 1, 2006), unknown);
}

#[test]
fn expired_sessions_are_forgotten_while_others_are_used() {
    let mut table = table();
    open(&mut table, 2, 900);
    let close = SessionRequest::Close { session: id(9) };
    table.apply(at(3), close, 1099, 0);
    assert_eq!(table.len(), 1, "only session 2 is left");
}

#[test]
fn the_number_of_sessions_and_their_bytes_are_limited() {
    let mut table = table();
    open(&mut table, 2, 5);
    open(&mut table, 3, 5);
    assert_eq!(open(&mut table, 4, 5), Decision::Refused(SessionError::TooManySessions));
    table.apply(at(5), SessionRequest::Close { session: id(2) }, 5, 0);
    assert_eq!(open(&mut table, 6, 5), Decision::Opened(id(6), 4));
    assert_eq!(open(&mut table, 7, 2000), Decision::Opened(id(7), 4), "the others have expired");
    let limits = SessionLimits { answer_bytes: 100 << 20, ..LIMITS };
    let large = |index| SessionRequest::Open { token: (8, index), limits };
    assert!(matches!(table.apply(at(8), large(8), 2000, 0), Decision::Opened(..)));
    let refused = table.apply(at(9), large(9), 2000, 0);
    assert_eq!(refused, Decision::Refused(SessionError::TooManySessions));
}

#[test]
fn a_request_to_open_that_is_in_the_log_twice_opens_one_session() {
    let mut table = table();
    let again = SessionRequest::Open { token: (7, 1), limits: LIMITS };
    assert_eq!(table.apply(at(9), again, 5, 0), Decision::Opened(id(1), 4));
    assert_eq!(table.len(), 1);
}

/// The same entries, once with each answer recorded at once, and once with all answers recorded at
/// the end, as in one large batch.
#[test]
fn the_table_does_not_depend_on_where_batches_end() {
    let entries = [(1, 1), (3, 1), (2, 1), (1, 1), (4, 2), (5, 4), (4, 1), (6, 4), (8, 6)];
    let answer = |number: u64| Bytes::from(vec![b'a'; number as usize]);
    let (mut one, mut other) = (table(), table());
    let mut later = Vec::new();
    for (number, below) in entries {
        let first = run(&mut one, number, below, 5);
        let second = run(&mut other, number, below, 5);
        let runs = |decision: &Decision| matches!(decision, Decision::Run(_));
        assert_eq!(runs(&first), runs(&second), "{number}");
        if runs(&first) {
            one.record(id(1), number, Some(&answer(number)));
            later.push(number);
        }
    }
    later.iter().for_each(|number| other.record(id(1), *number, Some(&answer(*number))));
    assert_eq!(one, other);
    assert_eq!(run(&mut one, 5, 1, 5), Decision::Refused(SessionError::Acknowledged { number: 5 }));
}

#[test]
fn a_table_is_the_same_after_it_was_in_a_snapshot() {
    let mut table = table();
    ran(&mut table, 2, b"2");
    ran(&mut table, 3, b"more than ten");
    open(&mut table, 2, 6);
    let bytes = table.encode();
    assert_eq!(SessionTable::decode(&bytes), Some(table.clone()));
    for wrong in [&bytes[1..], &bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), &[]] {
        assert_eq!(SessionTable::decode(wrong), None);
    }
    assert_eq!(run(&mut table, 1, 1, 6), Decision::Run(Bytes::from_static(b"run")));
    assert_eq!(SessionTable::decode(&table.encode()), None, "a batch has not been applied");
}

/// What went wrong: a table whose session had acknowledged the greatest numbers could not be read.
#[test]
fn a_table_with_the_greatest_numbers_is_read() {
    let mut table = table();
    let number = u64::MAX;
    assert_eq!(run(&mut table, number, number, 5), Decision::Run(Bytes::from_static(b"run")));
    record(&mut table, number, b"one");
    assert_eq!(SessionTable::decode(&table.encode()), Some(table));
}

#[test]
fn a_pinned_table_does_not_change() {
    let mut table = table();
    let pinned = table.clone();
    ran(&mut table, 1, b"1");
    assert_ne!(table, pinned);
    assert_eq!(pinned.len(), 1);
}
