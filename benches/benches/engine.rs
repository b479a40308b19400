//! The engine with both applications on one thread: requests of 64 bytes one at a time, and a bulk transfer there and
//! back. What is timed includes both hosts, the wire's copy, and setting the world up: compare it with itself alone.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("echo");
    group.sample_size(20);
    group.throughput(Throughput::Elements(20_000));
    group.bench_function("20,000 requests of 64 B", |bencher| {
        bencher.iter(|| benches::hosts::echo(1_280_000, 64, 1))
    });
    for (name, astray) in [("on their lane", false), ("handed over", true)] {
        group.bench_function(format!("20,000 requests of 64 B, two lanes, {name}"), |bencher| {
            bencher.iter(|| benches::hosts::echo_on_lanes(1_280_000, 64, 1, astray))
        });
    }
    group.throughput(Throughput::Bytes(16 << 20));
    group.bench_function("16 MiB in bulk", |bencher| {
        bencher.iter(|| benches::hosts::echo(16 << 20, 1 << 16, 16))
    });
    group.finish();
}

criterion_group!(all, engine);
criterion_main!(all);
