//! A recording of what a store does on a disk, and what may be found on that disk after a cut.

use std::collections::BTreeMap;

use raft_core::storage::{LogError, Store, WriteBatch};
use raft_core::types::Identity;

use super::verdict;
use crate::conformance::interrupted::states_during;
use crate::conformance::model::Model;
use crate::conformance::place::{Place, once_released};
use crate::conformance::report::{Checked, Halt};
use crate::conformance::request::{by_verbs, check_answer, in_words};
use crate::conformance::subject::{Ending, Way};
use crash_disk::{Change, Disk, History, Ino};

/// A request to the store.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A change that the log allows.
    Write(WriteBatch),
    /// The identity of the store.
    Identity(Identity),
    /// The end of a handle, and the opening of a new one.
    Reopen(Ending),
}

/// A store that writes in blocks rewrites the last block as it fills, which is no rotation.
const BLOCK_BYTES: u64 = 64 << 10;

/// One request, and its place among the operations of the disk.
struct Request {
    words: String,
    /// How many changes the disk had recorded when the request was made, and when it was answered.
    from: usize,
    to: usize,
    /// The states that a cut may leave while the request is made: first the state before it, last
    /// the state after it.
    states: Vec<Model>,
    /// Whether it ended the handle and opened another.
    is_opening: bool,
}

/// What a store did on a disk, from its opening on.
pub(super) struct Recording {
    pub(super) history: History,
    /// How many changes were made before the first opening had created the store.
    pub(super) creation_end: usize,
    /// How many changes had been made when the opening began, and when it returned.
    began: usize,
    opened: usize,
    /// The states in which the store may have been when it was opened; none in a new place.
    before: Vec<Model>,
    /// The state right after the opening.
    seen: Model,
    requests: Vec<Request>,
    /// The steps that led to the place as it was opened, as text.
    pub(super) setup: Vec<String>,
    /// Whether the place was new.
    pub(super) is_new: bool,
}

/// The state of the disk at the beginning of a recording.
pub(super) struct Beginning {
    /// All earlier changes of the disk.
    pub(super) history: History,
    /// How many changes created the store.
    pub(super) creation_end: usize,
    /// The states that may be found; `None` in a new place.
    pub(super) legal: Option<Vec<Model>>,
    /// The steps that led there, as text.
    pub(super) setup: Vec<String>,
}

/// The store, and how requests are made to it: the same for each recording of a check.
pub(super) struct Workload<'a> {
    pub(super) place: &'a mut dyn Place,
    pub(super) way: Way,
    pub(super) atomic: bool,
    pub(super) log_steps: &'a dyn Fn(&[String]),
}

impl Workload<'_> {
    /// Runs all steps on the store; the steps depend on what it holds when it is opened.
    pub(super) async fn record(
        &mut self,
        beginning: Beginning,
        steps: impl FnOnce(&Model) -> Vec<Step>,
    ) -> Checked<Recording> {
        let Beginning { history, creation_end, legal, setup } = beginning;
        let began = history.changes.len();
        let disk = Disk::mount_after(history).map_err(|why| Halt::Skipped(why.to_string()))?;
        (self.log_steps)(&setup);
        let is_new = legal.is_none();
        let before = legal.unwrap_or_else(|| vec![Model::default()]);
        let opened = self.open(&disk).await;
        let mut store = verdict::opened(opened)?;
        let opened = disk.changes();
        let seen = verdict::of(store.as_mut(), &before, &[], self.atomic).await?;
        let creation_end = if is_new { opened } else { creation_end };
        let mut recording = Recording {
            history: History::default(),
            creation_end,
            began,
            opened,
            before,
            seen: seen.clone(),
            requests: Vec::new(),
            setup,
            is_new,
        };
        for step in steps(&seen) {
            store = self.make(step, store, &disk, &mut recording).await?;
        }
        recording.history = disk.history();
        // What the handle does when it is dropped is not recorded, since the power is off.
        drop(store);
        Ok(recording)
    }

    async fn make(
        &mut self,
        step: Step,
        mut store: Box<dyn Store>,
        disk: &Disk,
        recording: &mut Recording,
    ) -> Checked<Box<dyn Store>> {
        match step {
            Step::Write(batch) => {
                for batch in parts(batch, self.way) {
                    let states = states_during(recording.last(), &batch, self.atomic);
                    let from = disk.changes();
                    let result = match self.way {
                        Way::SmallVerbs => by_verbs(store.as_mut(), &batch).await,
                        Way::Write => store.write(batch.clone()).await,
                    };
                    check_answer(result, None)?;
                    recording.note(in_words(&batch), from, disk, states);
                }
            }
            Step::Identity(identity) => {
                let mut after = recording.last().clone();
                after.identity = Some(identity);
                let states = vec![recording.last().clone(), after];
                let from = disk.changes();
                check_answer(store.save_identity(&identity).await, None)?;
                recording.note(format!("save the identity: {identity}"), from, disk, states);
            }
            Step::Reopen(ending) => {
                let (model, from) = (recording.last().clone(), disk.changes());
                if ending == Ending::Closed {
                    check_answer(store.close().await, None)?;
                }
                drop(store);
                store = verdict::opened(self.open(disk).await)?;
                verdict::of(store.as_mut(), std::slice::from_ref(&model), &[], self.atomic).await?;
                let words = match ending {
                    Ending::Closed => "close, and open again",
                    Ending::Dropped => "drop, and open again",
                };
                recording.note(words.to_owned(), from, disk, vec![model]);
                if let Some(request) = recording.requests.last_mut() {
                    request.is_opening = true;
                }
            }
        }
        Ok(store)
    }

    /// Opens the store on a disk. A store with its own threads may need a moment to release its
    /// place.
    async fn open(&mut self, disk: &Disk) -> Result<Box<dyn Store>, LogError> {
        open_in(self.place, disk.dir()).await
    }
}

/// Opens the place's store in another directory.
pub(super) async fn open_in(
    place: &mut dyn Place,
    dir: &std::path::Path,
) -> Result<Box<dyn Store>, LogError> {
    let opened = once_released(async || place.open_in(dir).await).await;
    opened.expect("check_movable has opened the place in a directory")
}

impl Recording {
    /// The states that may be found after a cut, and the older states that must not come back.
    pub(super) fn legal(&self, at: usize) -> (Vec<Model>, Vec<Model>) {
        if at < self.opened {
            return (self.before.clone(), Vec::new());
        }
        let older = self.requests.iter().take_while(|request| request.to <= at);
        let mut older: Vec<Model> = older.map(|request| request.states[0].clone()).collect();
        older.insert(0, self.seen.clone());
        let current = self.requests.iter().find(|request| at < request.to);
        let legal = match current {
            Some(request) if request.from < at => request.states.clone(),
            Some(request) => vec![request.states[0].clone()],
            None => vec![self.last().clone()],
        };
        (legal, older)
    }

    /// Whether the store, after its creation, did more to its files than append to them: it
    /// created, renamed or removed files, or overwrote data. Changes during an opening are not
    /// counted.
    pub(super) fn turns_over(&self) -> bool {
        let mut ends: BTreeMap<Ino, u64> = BTreeMap::new();
        let openings: Vec<_> = self.requests.iter().filter(|request| request.is_opening).collect();
        let is_opening = |at| openings.iter().any(|opening| opening.from <= at && at < opening.to);
        let mut changes = self.history.changes.iter().enumerate();
        changes.any(|(at, change)| {
            let turns = match change {
                Change::Create { .. } | Change::Rename { .. } | Change::Unlink { .. } => true,
                Change::Write { ino, at, bytes, .. } => {
                    let (end, last) = (at + bytes.len() as u64, ends.entry(*ino).or_default());
                    let goes_back = end + BLOCK_BYTES < *last;
                    *last = (*last).max(end);
                    goes_back
                }
                _ => false,
            };
            turns && self.creation_end <= at && !is_opening(at)
        })
    }

    /// Whether a cut comes so early that there may be no store yet.
    pub(super) fn is_during_creation(&self, at: usize) -> bool {
        self.is_new && at < self.opened
    }

    /// Whether the only request so far was to open the existing store.
    pub(super) fn is_only_opened(&self, at: usize) -> bool {
        let is_idle = self.requests.iter().all(|request| request.from >= at);
        !self.is_new && self.opened <= at && is_idle
    }

    /// The moments at which requests were answered.
    pub(super) fn answers(&self) -> Vec<usize> {
        let answers = self.requests.iter().map(|request| request.to);
        std::iter::once(self.opened).chain(answers).collect()
    }

    /// The moment at which the opening returned.
    pub(super) fn opened(&self) -> usize {
        self.opened
    }

    /// The moment at which this recording began.
    pub(super) fn began(&self) -> usize {
        self.began
    }

    /// The requests to the store until a moment, as text.
    pub(super) fn steps_until(&self, at: usize) -> Vec<String> {
        let mut lines = self.setup.clone();
        let answer = |is_there| if is_there { "Ok" } else { "the power is cut before it answers" };
        let opening = if self.is_new { "open a fresh store" } else { "open it" };
        lines.push(format!("{opening}: {}", answer(self.opened <= at)));
        for request in &self.requests {
            if request.to <= at {
                lines.push(format!("{}: Ok", request.words));
            } else if request.from < at {
                lines.push(format!("{}: {}", request.words, answer(false)));
            }
        }
        lines
    }

    /// The first change of the request that a cut interrupts, or of the last one before it.
    pub(super) fn current_step(&self, at: usize) -> usize {
        let begun = self.requests.iter().rev().find(|request| request.from < at);
        begun.map_or(self.began, |request| request.from)
    }

    fn last(&self) -> &Model {
        self.requests
            .last()
            .map_or(&self.seen, |request| request.states.last().unwrap_or(&self.seen))
    }

    fn note(&mut self, words: String, from: usize, disk: &Disk, states: Vec<Model>) {
        let (to, is_opening) = (disk.changes(), false);
        self.requests.push(Request { words, from, to, states, is_opening });
    }
}

/// The verbs of a batch, each as a separate batch; or the whole batch.
pub(super) fn parts(batch: WriteBatch, way: Way) -> Vec<WriteBatch> {
    if way == Way::Write {
        return vec![batch];
    }
    let none = WriteBatch::default;
    let parts = [
        WriteBatch { hard_state: batch.hard_state, ..none() },
        WriteBatch { reset: batch.reset, ..none() },
        WriteBatch { truncate_after: batch.truncate_after, ..none() },
        WriteBatch { append: batch.append, ..none() },
        WriteBatch { purge_upto: batch.purge_upto, ..none() },
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}
