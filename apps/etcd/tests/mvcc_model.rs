//! Compares the key space with a model that keeps a complete copy of the keys for each revision.

use std::collections::BTreeMap;

use bytes::Bytes;
use kontiki_etcd::api::mvccpb::KeyValue;
use kontiki_etcd::errors::Refusal;
use kontiki_etcd::mvcc::{Span, Store};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert_eq, proptest};

/// A change within one transaction.
#[derive(Clone, Debug)]
enum Change {
    Put(Bytes, Bytes),
    Delete(Bytes, Bytes),
}

#[derive(Clone, Debug)]
enum Step {
    Transaction(Vec<Change>),
    /// Compacts this many revisions before the newest (after it, if negative).
    Compact(i64),
    Sweep(usize),
}

/// Each revision with all keys that it sees; revision 1 sees none.
struct Model {
    revisions: BTreeMap<i64, BTreeMap<Bytes, KeyValue>>,
    compacted: i64,
}

impl Model {
    fn new() -> Model {
        Model { revisions: BTreeMap::from([(1, BTreeMap::new())]), compacted: -1 }
    }

    fn newest(&self) -> i64 {
        *self.revisions.last_key_value().expect("revision 1").0
    }

    fn transact(&mut self, changes: &[Change]) {
        let revision = self.newest() + 1;
        let mut keys = self.revisions[&self.newest()].clone();
        let mut changed = false;
        for change in changes {
            match change {
                Change::Put(key, value) => {
                    let previous = keys.get(key);
                    let created = previous.map_or(revision, |kv| kv.create_revision);
                    let version = previous.map_or(1, |kv| kv.version + 1);
                    let kv = KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: created,
                        mod_revision: revision,
                        version,
                        lease: 0,
                    };
                    keys.insert(key.clone(), kv);
                    changed = true;
                }
                Change::Delete(key, end) => {
                    let before = keys.len();
                    keys.retain(|candidate, _| !covers(key, end, candidate));
                    changed |= keys.len() != before;
                }
            }
        }
        if changed {
            self.revisions.insert(revision, keys);
        }
    }

    fn compact(&mut self, revision: i64) -> Result<(), Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.newest() {
            return Err(Refusal::FutureRevision);
        }
        self.compacted = revision;
        Ok(())
    }

    fn read(&self, key: &[u8], end: &[u8], at: i64) -> Result<Vec<KeyValue>, Refusal> {
        if at > self.newest() {
            return Err(Refusal::FutureRevision);
        }
        let at = if at <= 0 { self.newest() } else { at };
        if at < self.compacted {
            return Err(Refusal::Compacted);
        }
        let keys = self.revisions[&at].values();
        Ok(keys.filter(|kv| covers(key, end, &kv.key)).cloned().collect())
    }
}

fn covers(key: &[u8], end: &[u8], candidate: &[u8]) -> bool {
    match end {
        [] => candidate == key,
        [0] => candidate >= key,
        end => candidate >= key && candidate < end,
    }
}

fn read(store: &Store, key: &[u8], end: &[u8], at: i64) -> Result<Vec<KeyValue>, Refusal> {
    let found = store.view().find(Span::of(key, end), at)?;
    Ok(found.map(|found| found.to_key_value()).collect())
}

fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just("a"), Just("a\0"), Just("aa"), Just("b"), Just("c"), Just("\0"),]
        .prop_map(|key| Bytes::from_static(key.as_bytes()))
}

fn end() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just(Bytes::new()), Just(Bytes::from_static(b"\0")), key()]
}

fn change() -> impl Strategy<Value = Change> {
    let value = vec(any::<u8>(), 0..3).prop_map(Bytes::from);
    prop_oneof![
        3 => (key(), value).prop_map(|(key, value)| Change::Put(key, value)),
        1 => (key(), end()).prop_map(|(key, end)| Change::Delete(key, end)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => vec(change(), 1..4).prop_map(Step::Transaction),
        1 => (-1..9_i64).prop_map(Step::Compact),
        2 => (0..4_usize).prop_map(Step::Sweep),
    ]
}

fn take(store: &mut Store, changes: &[Change]) {
    store.write(|write| {
        for change in changes {
            match change {
                Change::Put(key, value) => {
                    write.put(key, value.clone(), 0);
                }
                Change::Delete(key, end) => {
                    write.delete(Span::of(key, end));
                }
            }
        }
    });
}

proptest! {
    #[test]
    fn the_store_reads_as_its_model(
        steps in vec(step(), 1..60),
        questions in vec((key(), end(), -1..70_i64), 20),
    ) {
        let (mut store, mut model) = (Store::default(), Model::new());
        for step in &steps {
            match step {
                Step::Transaction(changes) => {
                    take(&mut store, changes);
                    model.transact(changes);
                }
                Step::Compact(back) => {
                    let revision = model.newest() - back;
                    prop_assert_eq!(store.compact(revision), model.compact(revision));
                }
                Step::Sweep(steps) => {
                    store.sweep(*steps);
                }
            }
            prop_assert_eq!(store.revision(), model.newest());
            let everything = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"), 0);
            for (key, end, at) in questions.iter().chain([&everything]) {
                let (ours, theirs) = (read(&store, key, end, *at), model.read(key, end, *at));
                prop_assert_eq!(ours, theirs, "{:?} to {:?} at {}", key, end, at);
            }
        }
    }

    #[test]
    fn a_full_sweep_leaves_one_version_of_each_key(steps in vec(step(), 1..60)) {
        let mut store = Store::default();
        for step in &steps {
            match step {
                Step::Transaction(changes) => take(&mut store, changes),
                // Some are refused; the other test checks these.
                Step::Compact(back) => {
                    let _ = store.compact(store.revision() - back);
                }
                Step::Sweep(steps) => {
                    store.sweep(*steps);
                }
            }
        }
        // Refused if it is compacted there already.
        let _ = store.compact(store.revision());
        store.sweep(usize::MAX);
        let swept = store.size();
        // The same keys and values, written once each into a new store, take as much.
        let mut fresh = Store::default();
        let kept = read(&store, b"\0", b"\0", 0).expect("the newest can be read");
        for kv in kept {
            take(&mut fresh, &[Change::Put(kv.key, kv.value)]);
        }
        prop_assert_eq!(swept, fresh.size());
    }
}
