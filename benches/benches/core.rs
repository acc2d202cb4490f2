//! The core alone: the cost of a proposal for three cores together, in time, steps and allocated
//! bytes.

use benches::CoreTrio;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// The number of proposals over which allocations are counted.
const COUNTED: u64 = 1000;

fn core(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/propose");
    for together in [1_u64, 64, 1024] {
        print_costs(together);
        let mut trio = CoreTrio::new();
        group.throughput(Throughput::Elements(together));
        group.bench_function(BenchmarkId::new("together", together), |bencher| {
            bencher.iter(|| trio.propose(together));
        });
    }
    group.finish();
}

/// Counts are exact, so one run is enough.
fn print_costs(together: u64) {
    let mut trio = CoreTrio::new();
    let allocated = allocation_counter::measure(|| {
        (0..COUNTED).for_each(|_| trio.propose(together));
    });
    let proposals = (COUNTED * together) as f64;
    println!(
        "core/propose/together/{together}: {:.2} steps, {:.1} bytes in {:.3} allocations for each \
         proposal",
        trio.steps() as f64 / proposals,
        allocated.bytes_total as f64 / proposals,
        allocated.count_total as f64 / proposals,
    );
}

criterion_group!(benches, core);
criterion_main!(benches);
