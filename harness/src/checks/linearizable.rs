//! Judges whether some order of the operations explains what clients saw.
//!
//! A history is *linearizable* if each operation can be given one moment between its invocation and
//! its return, so that the operations, in the order of these moments, do what a single register
//! would (Herlihy and Wing, 1990). An operation whose outcome is unknown may have its moment at any
//! time after its invocation, or never.
//!
//! The search is that of Wing and Gong with the memory of Lowe (Testing for linearizability, 2017):
//! take an operation that no other must precede, try it, and step back when no operation can
//! follow; never visit the same set of operations with the same value twice. Keys are independent
//! registers, so each is judged alone (locality). Two shortcuts keep it fast, and neither changes a
//! verdict:
//!
//! - a read that may come next and returned the current value comes next at once, since it changes
//!   nothing for the others;
//! - a write of unknown outcome whose value was never read is left out, since it may never have
//!   happened.
//!
//! If each value is written only once, `zones` judges without a search.
//!
//! The module does not depend on Raft or on the simulator: [`Operation`]s may come from real
//! processes. Moments are rising numbers, in nanoseconds or of a counter. A return at the same
//! moment as an invocation counts as earlier.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::Hash;

pub use super::history::{Action, Operation};
use super::zones::contradiction;

/// The judgement on a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<V> {
    /// An order was found.
    Linearizable,
    /// There is none. Holds the longest explained part, and what could not follow it; or, with
    /// nothing explained, operations that contradict each other.
    NotLinearizable {
        /// The operations in the order that got furthest.
        explained: Vec<Operation<V>>,
        /// One of these must come next, and none can.
        stuck: Vec<Operation<V>>,
    },
    /// The search was given up after this many steps, which a test must treat as a failure.
    GaveUp {
        /// The steps taken.
        steps: u64,
    },
}

/// How many steps a search takes before it gives up.
pub const MAX_STEPS: u64 = 20_000_000;

/// Judges the histories of many registers separately, all with the same initial value. Returns the
/// first key whose history is not linearizable, or could not be judged.
pub fn check_all<K: Ord + Clone, V: Clone + Eq + Hash>(
    initial: &V,
    history: impl IntoIterator<Item = (K, Operation<V>)>,
) -> Result<(), (K, Verdict<V>)> {
    let mut keys: BTreeMap<K, Vec<Operation<V>>> = BTreeMap::new();
    for (key, operation) in history {
        keys.entry(key).or_default().push(operation);
    }
    for (key, operations) in keys {
        match check(initial.clone(), operations) {
            Verdict::Linearizable => {}
            verdict => return Err((key, verdict)),
        }
    }
    Ok(())
}

/// Judges the history of one register.
pub fn check<V: Clone + Eq + Hash>(initial: V, history: Vec<Operation<V>>) -> Verdict<V> {
    let operations = relevant(history);
    match contradiction(&initial, &operations) {
        Some(none) if none.is_empty() => Verdict::Linearizable,
        Some(stuck) => Verdict::NotLinearizable { explained: Vec::new(), stuck },
        None => Search::new(operations).run(initial),
    }
}

/// Leaves out operations without information, and sorts the others by invocation.
fn relevant<V: Clone + Eq + Hash>(history: Vec<Operation<V>>) -> Vec<Operation<V>> {
    let read_value = |operation: &Operation<V>| match &operation.action {
        Action::Read(value) if operation.returned.is_some() => Some(value.clone()),
        _ => None,
    };
    let seen: HashSet<V> = history.iter().filter_map(read_value).collect();
    let counts = |operation: &Operation<V>| match (&operation.action, operation.returned) {
        (_, Some(_)) => true,
        (Action::Write(value), None) => seen.contains(value),
        (Action::Read(_), None) => false,
    };
    let mut operations: Vec<Operation<V>> = history.into_iter().filter(counts).collect();
    for operation in &mut operations {
        // A coarse clock may show no time between the two moments, though there was some.
        operation.returned = operation.returned.map(|at| at.max(operation.invoked + 1));
    }
    operations.sort_by_key(|operation| operation.invoked);
    operations
}

/// A search for an order.
struct Search<V> {
    /// By invocation.
    operations: Vec<Operation<V>>,
    /// Which operations are in the order so far.
    taken: Set,
    /// The operations of the order so far, each with the value before it.
    order: Vec<(usize, V)>,
    /// Every operation before this one is taken.
    front: usize,
    /// How many operations with a known outcome are not taken yet.
    open: usize,
    /// The longest order so far, and the operations that were open after it.
    best: (Vec<usize>, Vec<usize>),
    visited: HashSet<(Set, V)>,
}

impl<V: Clone + Eq + Hash> Search<V> {
    fn new(operations: Vec<Operation<V>>) -> Search<V> {
        let open = operations.iter().filter(|operation| operation.returned.is_some()).count();
        Search {
            taken: Set::with_capacity(operations.len()),
            operations,
            order: Vec::new(),
            front: 0,
            open,
            best: (Vec::new(), Vec::new()),
            visited: HashSet::new(),
        }
    }

    fn run(mut self, initial: V) -> Verdict<V> {
        let mut value = initial;
        // The first operation to try; those before it were tried after the same order.
        let mut from = 0;
        for steps in 0.. {
            if self.open == 0 {
                return Verdict::Linearizable;
            }
            if steps == MAX_STEPS {
                return Verdict::GaveUp { steps };
            }
            match self.next(&value, from) {
                Some(index) => {
                    let after = self.value_after(index, &value);
                    self.take(index, std::mem::replace(&mut value, after));
                    from = 0;
                }
                None => match self.take_back() {
                    Some((index, before)) => (value, from) = (before, index + 1),
                    None => break,
                },
            }
        }
        self.not_linearizable()
    }

    /// The next operation worth trying, at or after `from`.
    fn next(&mut self, value: &V, from: usize) -> Option<usize> {
        let candidates = self.candidates();
        if from == 0 {
            self.note_progress(&candidates);
            let fits = |index: &&usize| self.reads(**index) == Some(value);
            if let Some(read) = candidates.iter().find(fits) {
                return Some(*read);
            }
        } else if self.took_free_read(from) {
            // A read that fitted at once: an order without it is no better.
            return None;
        }
        candidates.into_iter().find(|index| {
            *index >= from && self.reads(*index).is_none() && self.is_new(*index, value)
        })
    }

    /// Whether the operation just taken back was a read.
    fn took_free_read(&self, from: usize) -> bool {
        matches!(self.operations[from - 1].action, Action::Read(_))
    }

    fn reads(&self, index: usize) -> Option<&V> {
        match &self.operations[index].action {
            Action::Read(value) => Some(value),
            Action::Write(_) => None,
        }
    }

    /// The operations that no other one must precede: invoked before any open one returned.
    fn candidates(&self) -> Vec<usize> {
        let mut found = Vec::new();
        let mut first_return = u64::MAX;
        for (index, operation) in self.operations.iter().enumerate().skip(self.front) {
            if operation.invoked >= first_return {
                break;
            }
            if !self.taken.has(index) {
                found.push(index);
                first_return = first_return.min(operation.returned.unwrap_or(u64::MAX));
            }
        }
        found.retain(|index| self.operations[*index].invoked < first_return);
        found
    }

    /// Whether the set with this operation added was not visited yet with the value after it.
    fn is_new(&mut self, index: usize, value: &V) -> bool {
        let after = self.value_after(index, value);
        let mut set = self.taken.clone();
        set.insert(index);
        self.visited.insert((set, after))
    }

    fn value_after(&self, index: usize, value: &V) -> V {
        match &self.operations[index].action {
            Action::Write(written) => written.clone(),
            Action::Read(_) => value.clone(),
        }
    }

    fn take(&mut self, index: usize, before: V) {
        self.taken.insert(index);
        self.order.push((index, before));
        self.open -= usize::from(self.operations[index].returned.is_some());
        while self.front < self.operations.len() && self.taken.has(self.front) {
            self.front += 1;
        }
    }

    fn take_back(&mut self) -> Option<(usize, V)> {
        let (index, before) = self.order.pop()?;
        self.taken.remove(index);
        self.open += usize::from(self.operations[index].returned.is_some());
        self.front = self.front.min(index);
        Some((index, before))
    }

    fn note_progress(&mut self, candidates: &[usize]) {
        if self.best.1.is_empty() || self.order.len() > self.best.0.len() {
            let order = self.order.iter().map(|(index, _)| *index).collect();
            self.best = (order, candidates.to_vec());
        }
    }

    fn not_linearizable(self) -> Verdict<V> {
        let named = |indexes: &[usize]| {
            indexes.iter().map(|index| self.operations[*index].clone()).collect::<Vec<_>>()
        };
        Verdict::NotLinearizable { explained: named(&self.best.0), stuck: named(&self.best.1) }
    }
}

/// A set of small numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Set {
    words: Vec<u64>,
}

impl Set {
    fn with_capacity(count: usize) -> Set {
        Set { words: vec![0; count.div_ceil(64)] }
    }

    fn has(&self, number: usize) -> bool {
        self.words[number / 64] & (1 << (number % 64)) != 0
    }

    fn insert(&mut self, number: usize) {
        self.words[number / 64] |= 1 << (number % 64);
    }

    fn remove(&mut self, number: usize) {
        self.words[number / 64] &= !(1 << (number % 64));
    }
}

/// A line for messages: the client, its operation, and its times.
impl<V: fmt::Debug> fmt::Display for Operation<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} {:?} [{}..", self.client, self.action, self.invoked)?;
        match self.returned {
            Some(returned) => write!(f, "{returned}]"),
            None => write!(f, "?]"),
        }
    }
}

/// What went wrong, in short: the end of the best order, and the open operations.
impl<V: fmt::Debug> fmt::Display for Verdict<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Linearizable => write!(f, "linearizable"),
            Verdict::GaveUp { steps } => write!(f, "given up after {steps} steps"),
            Verdict::NotLinearizable { explained, stuck } => {
                if explained.is_empty() {
                    write!(f, "not linearizable: these contradict each other")?;
                    return stuck.iter().try_for_each(|operation| write!(f, "; {operation}"));
                }
                write!(f, "not linearizable: after {} operations", explained.len())?;
                for operation in explained.iter().rev().take(3).rev() {
                    write!(f, "; {operation}")?;
                }
                write!(f, "; none of these can follow")?;
                stuck.iter().try_for_each(|operation| write!(f, "; {operation}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(client: u64, value: u64, invoked: u64, returned: u64) -> Operation<u64> {
        Operation { client, invoked, returned: Some(returned), action: Action::Write(value) }
    }

    fn read(client: u64, value: u64, invoked: u64, returned: u64) -> Operation<u64> {
        Operation { client, invoked, returned: Some(returned), action: Action::Read(value) }
    }

    fn maybe(client: u64, value: u64, invoked: u64) -> Operation<u64> {
        Operation { client, invoked, returned: None, action: Action::Write(value) }
    }

    fn holds(history: &[Operation<u64>]) -> bool {
        let verdict = check(0, history.to_vec());
        assert!(!matches!(verdict, Verdict::GaveUp { .. }));
        verdict == Verdict::Linearizable
    }

    #[test]
    fn a_stale_read_is_found() {
        assert!(holds(&[write(1, 7, 0, 10), read(2, 7, 11, 12)]));
        assert!(!holds(&[write(1, 7, 0, 10), read(2, 0, 11, 12)]));
        assert!(holds(&[write(1, 7, 0, 10), read(2, 0, 5, 12)]), "it overlaps the write");
    }

    #[test]
    fn reads_that_go_back_are_found() {
        let seen_and_gone = [write(1, 7, 0, 100), read(2, 7, 10, 20), read(3, 0, 21, 30)];
        assert!(!holds(&seen_and_gone));
        let overlapping = [write(1, 7, 0, 100), read(2, 7, 10, 20), read(3, 0, 19, 30)];
        assert!(holds(&overlapping));
    }

    #[test]
    fn an_unknown_write_may_take_effect_late_or_never() {
        assert!(holds(&[maybe(1, 7, 0), read(2, 0, 10, 20)]));
        assert!(holds(&[maybe(1, 7, 0), read(2, 0, 10, 20), read(2, 7, 30, 40)]));
        let twice = [maybe(1, 7, 0), read(2, 7, 5, 6), write(2, 8, 7, 8), read(2, 7, 10, 12)];
        assert!(!holds(&twice), "it may happen once");
        assert!(!holds(&[maybe(1, 7, 50), read(2, 7, 10, 20)]), "not before it was requested");
    }

    #[test]
    fn a_value_that_was_never_written_is_found() {
        assert!(!holds(&[write(1, 7, 0, 10), read(2, 9, 11, 12)]));
    }

    #[test]
    fn keys_are_judged_separately() {
        let history = [("a", write(1, 7, 0, 10)), ("b", read(2, 0, 11, 12))];
        assert_eq!(check_all(&0, history.clone()), Ok(()));
        let wrong = [("a", write(1, 7, 0, 10)), ("a", read(2, 0, 11, 12))];
        assert!(matches!(check_all(&0, wrong), Err(("a", Verdict::NotLinearizable { .. }))));
    }

    /// Tries every order of a few overlapping operations, one by one.
    fn holds_by_trying_all(history: &[Operation<u64>]) -> bool {
        fn try_next(history: &[Operation<u64>], taken: u32, value: u64) -> bool {
            let open = |i: &usize| taken & (1 << i) == 0;
            let left: Vec<usize> = (0..history.len()).filter(open).collect();
            if left.iter().all(|i| history[*i].returned.is_none()) {
                return true;
            }
            let first_return = left.iter().filter_map(|i| history[*i].returned).min();
            left.iter().any(|i| {
                let operation = &history[*i];
                let after = match operation.action {
                    Action::Write(written) => written,
                    Action::Read(seen) if seen == value => value,
                    Action::Read(_) => return false,
                };
                first_return.is_none_or(|end| operation.invoked < end)
                    && try_next(history, taken | 1 << i, after)
            })
        }
        let counts =
            |o: &&Operation<u64>| o.returned.is_some() || matches!(o.action, Action::Write(_));
        let history: Vec<Operation<u64>> = history.iter().filter(counts).cloned().collect();
        try_next(&history, 0, 0)
    }

    #[test]
    fn the_search_agrees_with_trying_all_orders() {
        let mut rng = crate::rng::Rng::stream(1, "histories", 0);
        let mut verdicts = [0; 2];
        for _ in 0..5_000 {
            let history: Vec<Operation<u64>> = (0..rng.between(2, 7))
                .map(|client| {
                    let invoked = rng.below(20);
                    let returned = invoked + rng.between(1, 10);
                    let value = rng.below(3);
                    let unknown = rng.below(5) == 0;
                    match rng.below(2) {
                        0 if unknown => maybe(client, value, invoked),
                        0 => write(client, value, invoked, returned),
                        _ => read(client, value, invoked, returned),
                    }
                })
                .collect();
            let expected = holds_by_trying_all(&history);
            assert_eq!(holds(&history), expected, "{history:?}");
            verdicts[usize::from(expected)] += 1;
        }
        assert!(verdicts.iter().all(|count| *count > 500), "both verdicts: {verdicts:?}");
    }

    /// With each value written once, the quick judgement, the search and trying all orders agree.
    #[test]
    fn the_quick_judgement_agrees_with_the_search() {
        let mut rng = crate::rng::Rng::stream(2, "histories", 0);
        let mut verdicts = [0; 2];
        for _ in 0..20_000 {
            let count = rng.between(2, 7);
            let history: Vec<Operation<u64>> = (0..count)
                .map(|client| {
                    let invoked = rng.below(16);
                    let returned = invoked + rng.between(1, 10);
                    let unknown = rng.below(6) == 0;
                    match rng.below(2) {
                        0 if unknown => maybe(client, client + 1, invoked),
                        0 => write(client, client + 1, invoked, returned),
                        _ => read(client, rng.below(count + 1), invoked, returned),
                    }
                })
                .collect();
            let expected = holds_by_trying_all(&history);
            let operations = relevant(history.clone());
            let searched = Search::new(operations.clone()).run(0) == Verdict::Linearizable;
            let quick = contradiction(&0, &operations).expect("each value is written once");
            assert_eq!((searched, quick.is_empty()), (expected, expected), "{history:?}");
            verdicts[usize::from(expected)] += 1;
        }
        assert!(verdicts.iter().all(|count| *count > 500), "both verdicts: {verdicts:?}");
    }

    #[test]
    fn a_long_history_with_open_writes_is_judged_quickly() {
        let mut history = Vec::new();
        for round in 1..=2_000 {
            let at = round * 10;
            history.push(write(round % 3, round * 2, at, at + 8));
            if round % 50 == 0 {
                history.push(maybe(9, round * 2 + 1, at));
            }
            history.push(read(4, round * 2, at + 8, at + 9));
        }
        assert!(holds(&history));
        history.push(read(5, 2, 30_000, 30_001));
        assert!(!holds(&history));
    }
}
