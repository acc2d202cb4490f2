//! Everything that a store shows, and which promise a difference from the model breaks.

use raft_core::storage::{LogBounds, LogReader, Recovered, Store};
use raft_core::types::{Entry, EntryId, HardState, Identity, LogIndex};

use super::model::Model;
use super::report::{Checked, broken, promised};

/// How many bytes of payload one read may return while the whole log is read.
const LOOK_BYTES: u64 = 64 << 20;

/// What a store shows.
#[derive(Debug, PartialEq)]
pub(crate) struct Contents {
    pub(crate) bounds: LogBounds,
    pub(crate) hard_state: HardState,
    pub(crate) identity: Option<Identity>,
    pub(crate) entries: Vec<Entry>,
}

/// The last change: the same difference breaks one promise after a refusal, and another after a
/// reopening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Appended,
    Saved,
    Truncated,
    Purged,
    Reset,
    Refused,
    Reopened,
}

impl Contents {
    /// Reads everything. A read that fails inside the bounds breaks a promise by itself.
    pub(crate) async fn of(store: &mut dyn Store) -> Checked<Contents> {
        let bounds = store.bounds();
        let hard_state = match store.load_hard_state().await {
            Ok(hard_state) => hard_state,
            Err(error) => return broken(8, format!("the hard state cannot be loaded: {error}")),
        };
        let identity = match store.load_identity().await {
            Ok(identity) => identity,
            Err(error) => return broken(1, format!("the identity cannot be loaded: {error}")),
        };
        let mut reader = store.reader();
        let entries = all_entries(reader.as_mut(), bounds).await?;
        check_terms(reader.as_mut(), bounds, &entries).await?;
        Ok(Contents { bounds, hard_state, identity, entries })
    }

    /// Checks that the store shows what the model holds.
    pub(crate) fn check(&self, model: &Model, after: After) -> Checked {
        self.check_facts(model, after)?;
        let (found, wanted) = (self.bounds, model.bounds());
        let (promise, moved) = match (after, found.boundary == wanted.boundary) {
            (_, true) => (last_promise(after, found.last, wanted.last), "last entry"),
            (After::Refused, false) => (16, "boundary"),
            (After::Reopened, false) if shows_purged(found, wanted) => (7, "boundary"),
            (_, false) => (6, "boundary"),
        };
        promised(promise, found == wanted, || {
            let (found, wanted) = match moved {
                "boundary" => (found.boundary, wanted.boundary),
                _ => (found.last, wanted.last),
            };
            format!("{}, the {moved} is {found} and must be {wanted}", after.words())
        })?;
        let promise = if after == After::Refused { 16 } else { 10 };
        promised(promise, self.entries == model.entries, || {
            let pairs = self.entries.iter().zip(&model.entries);
            let mut wrong = pairs.filter(|(found, wanted)| found != wanted);
            let (found, wanted) = wrong.next().expect("the bounds are equal");
            let (found, wanted) = (in_short(found), in_short(wanted));
            format!("{}, an entry reads as {found} and must be {wanted}", after.words())
        })
    }

    fn check_facts(&self, model: &Model, after: After) -> Checked {
        let (found, wanted) = (self.hard_state, model.hard_state);
        let promise = match after {
            After::Refused => 16,
            After::Truncated | After::Purged | After::Reset => 9,
            After::Reopened if found.may_become(wanted) => 8,
            After::Reopened => 1,
            After::Saved | After::Appended => 8,
        };
        promised(promise, found == wanted, || {
            format!("{}, the hard state is ({found}) and must be ({wanted})", after.words())
        })?;
        let promise = if after == After::Reopened { 1 } else { 16 };
        promised(promise, self.identity == model.identity, || {
            let (found, wanted) = (self.identity, model.identity);
            format!("{}, the identity is {found:?} and must be {wanted:?}", after.words())
        })
    }
}

impl After {
    fn words(self) -> &'static str {
        match self {
            After::Appended => "after an append",
            After::Saved => "after a save",
            After::Truncated => "after a truncation",
            After::Purged => "after a purge",
            After::Reset => "after a reset",
            After::Refused => "after a refusal",
            After::Reopened => "after opening again",
        }
    }
}

/// Checks that the result of [`Store::recover`] agrees with the model.
pub(crate) fn check_recovered(found: &Recovered, model: &Model) -> Checked {
    let wanted = (model.bounds(), model.hard_state);
    promised(18, (found.bounds, found.hard_state) == wanted, || {
        format!(
            "recover reported {:?} and must report {wanted:?}",
            (found.bounds, found.hard_state)
        )
    })?;
    let wanted = model.term_runs();
    promised(18, found.term_runs == wanted, || {
        format!("recover reported the term runs {:?} and must report {wanted:?}", found.term_runs)
    })?;
    promised(18, found.memberships == model.memberships(), || {
        let at = |list: &[(LogIndex, _)]| list.iter().map(|(at, _)| at.get()).collect::<Vec<_>>();
        let (found, wanted) = (at(&found.memberships), at(&model.memberships()));
        format!("recover reported memberships at {found:?}; the log has them at {wanted:?}")
    })?;
    let highest = model.highest_hint.min(model.last().index);
    promised(18, found.commit_hint <= highest, || {
        let found = found.commit_hint;
        format!("recover reported the commit hint {found}, which must not be above {highest}")
    })
}

async fn all_entries(reader: &mut dyn LogReader, bounds: LogBounds) -> Checked<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut next, end) = (bounds.first(), bounds.last.index.next());
    while next < end {
        let found = match reader.read(next..end, LOOK_BYTES).await {
            Ok(found) => found,
            Err(error) => return broken(10, format!("a read of {next}..{end} failed: {error}")),
        };
        promised(10, !found.is_empty(), || format!("a read of {next}..{end} returned nothing"))?;
        for entry in found {
            promised(5, entry.id.index == next && next < end, || {
                format!("a read returned entry {} where {next} was expected", entry.id)
            })?;
            next = next.next();
            entries.push(entry);
        }
    }
    Ok(entries)
}

async fn check_terms(reader: &mut dyn LogReader, bounds: LogBounds, entries: &[Entry]) -> Checked {
    let ids = entries.iter().map(|entry| (10, entry.id));
    for (promise, id) in std::iter::once((6, bounds.boundary)).chain(ids) {
        let found = reader.term(id.index).await;
        promised(promise, found.as_ref().is_ok_and(|term| *term == id.term), || {
            format!("the term of {} is reported as {found:?} and must be {}", id.index, id.term)
        })?;
    }
    Ok(())
}

fn shows_purged(found: LogBounds, wanted: LogBounds) -> bool {
    found.boundary.index < wanted.boundary.index && !found.is_empty()
}

/// The promise that a wrong last entry breaks: there are too many entries, or too few.
fn last_promise(after: After, found: EntryId, wanted: EntryId) -> usize {
    match (after, found.index > wanted.index) {
        (After::Refused, _) => 16,
        (After::Truncated | After::Purged | After::Reset | After::Reopened, true) => 7,
        (After::Reopened, false) => 1,
        (_, true) => 5,
        // The index is right, but the entry has another term.
        (_, false) if found.index == wanted.index => 10,
        (_, false) => 11,
    }
}

/// The text of an entry: its id, kind, size and first bytes.
pub(crate) fn in_short(entry: &Entry) -> String {
    let start = &entry.payload[..entry.payload.len().min(16)];
    format!("{} {:?} of {} bytes \"{}\"", entry.id, entry.kind, entry.size(), start.escape_ascii())
}
