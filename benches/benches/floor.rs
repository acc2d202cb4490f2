//! What the disk itself takes for a write and an `fdatasync`.

use benches::PrewrittenFile;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn floor(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("floor/write+fdatasync");
    for size in [256usize, 64 * 256] {
        let mut file = PrewrittenFile::new().expect("a file can be made");
        let bytes = vec![7; size];
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| file.write_and_sync(&bytes).expect("the disk works"));
        });
    }
    group.finish();
}

criterion_group!(benches, floor);
criterion_main!(benches);
