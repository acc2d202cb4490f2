//! The cost of the operations of each log: append and sync with several submitters, sizes and
//! batches; hard state, reads, truncation, purge, reopening.
//!
//! Each backend is compared with its own past. `kontiki bench log` compares backends with each
//! other and with the disk, in turns.

use std::path::Path;
use std::time::{Duration, Instant};

use benches::Workload;
use benches::log::{StoreWriter, Writer};
use benches::named_log::open;
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use kontiki::LogConfig;
use kontiki::storage::{Store, WriteBatch};
use kontiki::types::{HardState, LogIndex, Term};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The entries of a log that is read, truncated or opened, unless [`ENTRIES_VARIABLE`] is set.
const ENTRIES: u64 = 20_000;

/// To measure long logs: `KONTIKI_BENCH_ENTRIES=1000000 cargo bench ... -- reopen`.
const ENTRIES_VARIABLE: &str = "KONTIKI_BENCH_ENTRIES";

/// The payload of these entries.
const SIZE: usize = 256;

/// The entries that a read requests.
const READ: u64 = 64;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn log(criterion: &mut Criterion) {
    for backend in LogConfig::compiled() {
        append(criterion, backend);
        let mut group = criterion.benchmark_group(format!("log/{backend}"));
        group.sample_size(10).warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_secs(1));
        hard_state(&mut group, backend);
        reads(&mut group, backend);
        truncate(&mut group, backend);
        purge(&mut group, backend);
        if LogConfig::from_name(backend, "unused").is_ok_and(|log| log.is_durable()) {
            reopen(&mut group, backend);
        }
        group.finish();
    }
}

/// Varies one dimension at a time, starting from one client with one entry of 256 bytes.
fn workloads() -> Vec<Workload> {
    let mut all = Workload::grid(&[SIZE], &[1], &[1, 16, 256]);
    all.extend(Workload::grid(&[64, 4 << 10, 64 << 10], &[1], &[1]));
    all.extend(Workload::grid(&[SIZE], &[16, 64], &[1]));
    all
}

fn append(criterion: &mut Criterion, backend: &str) {
    let mut group = criterion.benchmark_group(format!("log/{backend}/append"));
    group.sample_size(10).warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    for workload in workloads() {
        let (dir, runtime) = (place(), runtime());
        let mut writer = StoreWriter::create(backend, dir.path(), workload.size).expect("a log");
        let entries = workload.clients * workload.batch;
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::from_parameter(workload.describe()), |bencher| {
            bencher.iter_custom(|count| {
                runtime.block_on(async {
                    let mut took = Duration::ZERO;
                    for _ in 0..count {
                        writer.prepare(entries);
                        let start = Instant::now();
                        writer.write().await.expect("the disk works");
                        took += start.elapsed();
                    }
                    took
                })
            });
        });
    }
    group.finish();
}

/// A new term is saved each time, as in an election.
fn hard_state(group: &mut Group, backend: &str) {
    let (dir, runtime) = (place(), runtime());
    let mut store = filled(backend, dir.path(), &runtime);
    let mut term = 1;
    group.bench_function("hard state", |bencher| {
        bencher.iter(|| {
            term += 1;
            let hard_state = Some(HardState { term: Term::new(term), ..HardState::default() });
            write(&runtime, store.as_mut(), WriteBatch { hard_state, ..WriteBatch::default() });
        });
    });
}

/// A store may hold the tail in memory. Entries far from the tail must come from its files (or from
/// the system's cache of them).
fn reads(group: &mut Group, backend: &str) {
    let (dir, runtime) = (place(), runtime());
    let store = filled(backend, dir.path(), &runtime);
    let mut reader = store.reader();
    let mut read = |first: u64| {
        let range = LogIndex::new(first)..LogIndex::new(first + READ);
        let entries = runtime.block_on(reader.read(range, u64::MAX)).expect("readable");
        assert_eq!(entries.len() as u64, READ);
    };
    let last = entries();
    group.throughput(Throughput::Elements(READ));
    group.bench_function("read the tail", |bencher| bencher.iter(|| read(last + 1 - READ)));
    let mut first = 1;
    group.bench_function("read far from the tail", |bencher| {
        bencher.iter(|| {
            // A stride that has no common divisor with the length reaches every entry.
            first = 1 + (first + 7919) % (last / 2);
            read(first);
        });
    });
}

/// The last entry is truncated, and another one is appended in the same batch.
fn truncate(group: &mut Group, backend: &str) {
    let (dir, runtime) = (place(), runtime());
    let mut writer = StoreWriter::create(backend, dir.path(), SIZE).expect("a log");
    runtime.block_on(fill(&mut writer));
    group.throughput(Throughput::Elements(1));
    group.bench_function("truncate and append", |bencher| {
        bencher.iter(|| {
            writer.prepare_rewrite();
            runtime.block_on(writer.write()).expect("the disk works");
        });
    });
}

/// One entry is purged from the front, and another one is appended, alternately.
fn purge(group: &mut Group, backend: &str) {
    let (dir, runtime) = (place(), runtime());
    let mut writer = StoreWriter::create(backend, dir.path(), SIZE).expect("a log");
    runtime.block_on(fill(&mut writer));
    group.bench_function("purge and append", |bencher| {
        bencher.iter(|| {
            writer.prepare_with_purge();
            runtime.block_on(writer.write()).expect("the disk works");
        });
    });
}

fn reopen(group: &mut Group, backend: &str) {
    group.throughput(Throughput::Elements(entries()));
    for (name, in_order) in [("reopen after a clean stop", true), ("reopen after a crash", false)] {
        let (dir, runtime) = (place(), runtime());
        let mut store = filled(backend, dir.path(), &runtime);
        if in_order {
            runtime.block_on(store.close()).expect("closed");
        }
        drop(store);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let mut took = Duration::ZERO;
                for _ in 0..count {
                    let start = Instant::now();
                    let mut store = open(backend, dir.path().join(backend)).expect("it opens");
                    runtime.block_on(store.recover()).expect("it recovers");
                    took += start.elapsed();
                    assert_eq!(store.bounds().last.index.get(), entries());
                    // Without this call the store does not find its durable mark, as after a crash.
                    if in_order {
                        runtime.block_on(store.close()).expect("closed");
                    }
                }
                took
            });
        });
    }
}

/// The number of entries of the logs, a multiple of the writes that create them.
fn entries() -> u64 {
    let asked = std::env::var(ENTRIES_VARIABLE).ok();
    let asked = asked.map(|text| text.parse().expect("KONTIKI_BENCH_ENTRIES is a number"));
    asked.unwrap_or(ENTRIES).max(ENTRIES / 20).next_multiple_of(20)
}

fn filled(backend: &str, dir: &Path, runtime: &Runtime) -> Box<dyn Store> {
    let mut writer = StoreWriter::create(backend, dir, SIZE).expect("a log");
    runtime.block_on(fill(&mut writer));
    writer.into_store()
}

async fn fill(writer: &mut StoreWriter) {
    for _ in 0..20 {
        writer.prepare(entries() / 20);
        writer.write().await.expect("the disk works");
    }
}

fn write(runtime: &Runtime, store: &mut dyn Store, batch: WriteBatch) {
    runtime.block_on(store.write(batch)).expect("the disk works");
}

/// A directory on the disk of the current directory; the one for temporary files may be in memory.
fn place() -> TempDir {
    tempfile::Builder::new().prefix("kontiki-bench-").tempdir_in(".").expect("a directory")
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}

criterion_group!(benches, log);
criterion_main!(benches);
