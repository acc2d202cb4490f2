//! The time of a commit: three and five members in one process, and three processes over TCP if the
//! tool was built.
//!
//! A closed loop shows how many commits fit in a second. An open loop shows the latency when
//! commands arrive at a given rate, the time in a queue included.

use std::path::PathBuf;
use std::time::Duration;

use benches::cluster::{Cluster, ClusterPlan};
use benches::etcd::servers::{Kind, Servers};
use benches::{Lane, Place, Stop, Tally, Workload};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// The commands that arrive per second, in an open loop.
const RATE: f64 = 2000.0;

fn in_one_process(criterion: &mut Criterion) {
    let place = Place::new(None).expect("a directory");
    for (backend, size) in [("memory", 0), ("file", 256)] {
        for members in [3, 5] {
            let plan = ClusterPlan { backend: backend.to_owned(), members, workers: 1 };
            let name = format!("commit/{members} members/{backend}/{size}B");
            for workload in workloads(size) {
                // A new cluster each time, because its log would otherwise grow from one benchmark
                // to the next.
                let cluster = Cluster::start(&plan, &place).expect("it starts");
                measure(criterion, &name, &workload, &mut |time| {
                    cluster.commit(&workload, time, &Stop::new())
                });
            }
        }
    }
}

fn over_tcp(criterion: &mut Criterion) {
    let Some(program) = tool() else {
        println!("left out: processes over TCP (cargo build --release --package kontiki-cli)");
        return;
    };
    let place = Place::new(None).expect("a directory");
    for backend in ["memory", "file"] {
        let kind = Kind::Kontiki { program: program.clone(), backend: backend.to_owned() };
        let servers = Servers::start(&kind, &place, &Stop::new()).expect("they start");
        let name = format!("commit/3 processes/{backend}/256B");
        for workload in workloads(256) {
            let mut lane = servers.lane(8, &workload).expect("they answer");
            measure(criterion, &name, &workload, &mut |time| {
                lane.turn(time, &Stop::new()).expect("they answer")
            });
        }
    }
}

fn workloads(size: usize) -> Vec<Workload> {
    let mut all = Workload::grid(&[size], &[1], &[1, 64, 1024]);
    all.push(Workload { size, batch: 1, clients: 1, rate: Some(RATE) });
    all
}

/// In a closed loop the time for an entry; in an open loop the p50 latency.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    workload: &Workload,
    run: &mut dyn FnMut(Duration) -> Tally,
) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::from_parameter(workload.describe()), |bencher| {
        bencher.iter_custom(|count| {
            let time = Duration::from_micros(count * 50);
            let tally = run(time.clamp(Duration::from_millis(10), Duration::from_millis(200)));
            assert_eq!(tally.failures, 0);
            let one = match workload.rate {
                Some(_) => Duration::from_secs_f64(tally.samples.quantile_us(0.5) / 1e6),
                None => tally.busy.div_f64(tally.entries.max(1) as f64),
            };
            one.mul_f64(count as f64)
        });
    });
    group.finish();
}

/// The path of the tool, which is in the folder above this program.
fn tool() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let program = own.parent()?.parent()?.join("kontiki");
    program.is_file().then_some(program)
}

criterion_group!(benches, in_one_process, over_tcp);
criterion_main!(benches);
