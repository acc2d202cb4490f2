//! How long a commit takes on three members in one process, and how many fit in a second.

use std::time::Duration;

use benches::Cluster;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn commit(criterion: &mut Criterion) {
    for (backend, size) in [("memory", 0), ("file", 256)] {
        let cluster = Cluster::start(backend);
        let mut group = criterion.benchmark_group(format!("commit/{backend}/{size}B"));
        group.sample_size(10).measurement_time(Duration::from_secs(3));
        group.throughput(Throughput::Elements(1));
        for clients in [1u64, 64, 1024] {
            group.bench_function(BenchmarkId::new("clients", clients), |bencher| {
                // At least a few rounds of all clients, so that groups form.
                let rounds = clients * 4;
                bencher.iter_custom(|count| {
                    let scaled = cluster.commit(clients, size, count * rounds);
                    scaled / rounds as u32
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, commit);
criterion_main!(benches);
