//! How long it takes to read a scenario: what every submission pays first.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ffrtmp_core::scenario::{EXAMPLES, Scenario};

fn scenario_parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("scenario_parse");
    for text in EXAMPLES.iter().take(3).chain(&["a-long-one-with-many-words-720p59.94-hevc-debug"]) {
        group.bench_function(*text, |b| b.iter(|| black_box(*text).parse::<Scenario>()));
    }
    group.bench_function("refused with the nearest word", |b| b.iter(|| black_box("1080pp-h264").parse::<Scenario>()));
    group.finish();
}

criterion_group!(benches, scenario_parse);
criterion_main!(benches);
