//! The time of a durable write to the disk itself, for each layout and for the second of three
//! files.

use std::sync::Arc;
use std::time::Duration;

use benches::floor::{Aligned, FILE_BYTES, Layout, Majority, RawFile, Verb};
use benches::{Place, incompressible};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn floor(criterion: &mut Criterion) {
    let place = Place::new(None).expect("a directory");
    let mut group = criterion.benchmark_group("floor/write+fdatasync");
    group.sample_size(10).warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    for size in [256, 64 * 256] {
        let bytes = Arc::new(Aligned::new(&incompressible(size)));
        for layout in Layout::ALL {
            let work_dir = place.work_dir().expect("a directory");
            let file =
                RawFile::create(work_dir.path(), "floor", layout, Verb::Fdatasync, FILE_BYTES);
            let mut file = file.expect("a file can be made");
            group.bench_function(BenchmarkId::new(layout.name(), size), |bencher| {
                bencher.iter(|| file.write_and_sync(&bytes).expect("the disk works"));
            });
        }
        let work_dir = place.work_dir().expect("a directory");
        let three =
            Majority::create(work_dir.path(), 3, Verb::Fdatasync).expect("files can be made");
        group.bench_function(BenchmarkId::new("second of three", size), |bencher| {
            bencher.iter_custom(|count| {
                (0..count).map(|_| three.write_and_sync(&bytes).expect("the disk works")).sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, floor);
criterion_main!(benches);
