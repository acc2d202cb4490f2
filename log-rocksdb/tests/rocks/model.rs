//! In lock-step with the memory log: whatever is asked, both answer the same.

use log_memory::MemoryLog;
use proptest::prelude::*;
use raft_core::storage::{LogError, LogErrorKind, Store, WriteBatch};
use raft_core::types::{ClusterId, Identity, NodeId, StoreId};

use crate::samples::{Draft, batch_for, draft, id, index, is_deep, look, now, open};
use log_rocksdb::RocksLog;
use tempfile::TempDir;

#[derive(Clone, Debug)]
enum Step {
    Write(Draft),
    /// The verbs of the draft's batch, one by one.
    Verbs(Draft),
    /// A batch that suits another log: mostly refused.
    Wild {
        reset: Option<u64>,
        cut: Option<u64>,
        first: u64,
        term: u64,
        purge: Option<(u64, u64)>,
    },
    Identity(u64),
    Read {
        start: u64,
        end: u64,
        max_bytes: u64,
    },
    Reopen {
        clean: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let maybe = |limit: u64| prop::option::of(0..limit);
    prop_oneof![
        8 => draft().prop_map(Step::Write),
        3 => draft().prop_map(Step::Verbs),
        2 => (maybe(4), maybe(40), 0..40u64, 0..6u64, prop::option::of((0..40u64, 0..6u64)))
            .prop_map(|(reset, cut, first, term, purge)| {
                let reset = reset.filter(|reset| *reset == 3);
                Step::Wild { reset, cut, first, term, purge }
            }),
        1 => (0..3u64).prop_map(Step::Identity),
        3 => (0..50u64, 0..50u64, 0..3000u64)
            .prop_map(|(start, end, max_bytes)| Step::Read { start, end, max_bytes }),
        1 => any::<bool>().prop_map(|clean| Step::Reopen { clean }),
    ]
}

fn kinds(result: Result<(), LogError>) -> Result<(), LogErrorKind> {
    result.map_err(|error| error.kind)
}

/// The verbs of a batch, each on its own.
fn by_verbs(log: &mut dyn Store, batch: &WriteBatch) -> Result<(), LogError> {
    if let Some(hard_state) = batch.hard_state {
        now(log.save_hard_state(hard_state))?;
    }
    if let Some(boundary) = batch.reset {
        now(log.reset(boundary))?;
    }
    if let Some(cut) = batch.truncate_after {
        now(log.truncate_after(cut))?;
    }
    now(log.append(&batch.append))?;
    batch.purge_upto.map_or(Ok(()), |upto| now(log.purge_upto(upto)))
}

struct Pair {
    dir: TempDir,
    rocks: Option<RocksLog>,
    memory: MemoryLog,
    was_reopened: bool,
}

impl Pair {
    fn both<T>(&mut self, mut ask: impl FnMut(&mut dyn Store) -> T) -> (T, T) {
        (ask(self.rocks.as_mut().expect("open")), ask(&mut self.memory))
    }

    fn run(&mut self, step: &Step, mark: u64) -> Result<(), TestCaseError> {
        match step {
            Step::Write(draft) => {
                let batch = batch_for(&look(&mut self.memory).expect("sound"), draft, mark);
                let (rocks, memory) = self.both(|log| kinds(now(log.write(batch.clone()))));
                prop_assert_eq!(&memory, &Ok(()));
                prop_assert_eq!(rocks, memory);
            }
            Step::Verbs(draft) => {
                let batch = batch_for(&look(&mut self.memory).expect("sound"), draft, mark);
                let (rocks, memory) = self.both(|log| kinds(by_verbs(log, &batch)));
                prop_assert_eq!(rocks, memory);
            }
            Step::Wild { reset, cut, first, term, purge } => {
                let batch = WriteBatch {
                    reset: reset.map(|at| id(at, 1)),
                    truncate_after: cut.map(index),
                    append: crate::samples::entries(*first..=*first + 1, *term),
                    purge_upto: purge.map(|(at, term)| id(at, term)),
                    ..WriteBatch::default()
                };
                let (rocks, memory) = self.both(|log| kinds(now(log.write(batch.clone()))));
                prop_assert_eq!(rocks, memory);
            }
            Step::Identity(store) => {
                let node = NodeId::new(1).expect("not zero");
                let identity = Identity { cluster: ClusterId(7), node, store: StoreId(*store) };
                let (rocks, memory) = self.both(|log| kinds(now(log.save_identity(&identity))));
                prop_assert_eq!(rocks, memory);
            }
            Step::Read { start, end, max_bytes } => {
                let range = index(*start)..index(*end);
                let (rocks, memory) = self.both(|log| {
                    now(log.reader().read(range.clone(), *max_bytes)).map_err(|error| error.kind)
                });
                prop_assert_eq!(rocks, memory);
                let (rocks, memory) = self
                    .both(|log| now(log.reader().term(index(*start))).map_err(|error| error.kind));
                prop_assert_eq!(rocks, memory);
            }
            Step::Reopen { clean } => {
                if *clean {
                    now(self.rocks.as_mut().expect("open").close()).expect("closes");
                }
                self.rocks = None;
                self.rocks = Some(open(self.dir.path()).expect("opens again"));
            }
        }
        let (rocks, memory) = self.both(|log| look(log).expect("sound"));
        let (mut rocks, memory) = (rocks, memory);
        // A hint that came without anything else may be forgotten by a reopening, and nothing more.
        self.was_reopened |= matches!(step, Step::Reopen { .. });
        if self.was_reopened {
            prop_assert!(rocks.recovered.commit_hint <= memory.recovered.commit_hint);
            rocks.recovered.commit_hint = memory.recovered.commit_hint;
        }
        prop_assert_eq!(rocks, memory);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if is_deep() { 2_000 } else { 60 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_does_what_the_memory_log_does(steps in prop::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().expect("a directory");
        let rocks = Some(open(dir.path()).expect("a new log"));
        let mut pair = Pair { dir, rocks, memory: MemoryLog::new(), was_reopened: false };
        for (mark, step) in steps.iter().enumerate() {
            pair.run(step, mark as u64)?;
        }
    }
}
