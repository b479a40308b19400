//! One lane by itself, in each of the cases; and the engine with both applications on one thread: requests of 64 bytes one
//! at a time, and a bulk transfer there and back, in whose time are both hosts, the wire's copy, and setting the world up.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use core::time::Duration;
use std::time::Instant;

use benches::cases::{CASES, Case, Meter, Plan, Run, Unmeasured};
use benches::rig::{Application, PortOptions, timed};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stack::lane::Lane;

/// Adds up the time of turns.
#[derive(Default)]
struct Clocked(Duration);

impl Meter for Clocked {
    fn turn(&mut self, lane: &mut Lane, application: &mut impl Application) {
        let began = Instant::now();
        timed(lane, application);
        self.0 += began.elapsed();
    }
}

/// Each case, with bursts of 32 and few flows or many: what is timed is the lane's turns.
fn lane(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lane");
    group.sample_size(20).throughput(Throughput::Elements(1));
    for (name, case) in CASES {
        let flows: &[usize] = if case == Case::BulkSend { &[4] } else { &[1_000, 64_000] };
        for &flows in flows {
            let port = PortOptions { checksums: true, segmentation: false, gather: true };
            let mut run = Run::new(Plan { case, flows, burst: 32, port, fast: true });
            let mut warm = 0;
            while warm < 2 * flows as u64 {
                warm += run.round(&mut Unmeasured);
            }
            group.bench_function(BenchmarkId::new(name, flows), |bencher| {
                bencher.iter_custom(|wanted| {
                    let (mut clocked, mut done) = (Clocked::default(), 0);
                    while done < wanted {
                        done += run.round(&mut clocked);
                    }
                    clocked.0.mul_f64(share(wanted, done))
                });
            });
            run.check();
        }
    }
    group.finish();
}

#[expect(clippy::cast_precision_loss, reason = "counts of transactions, far below 2^52")]
fn share(wanted: u64, done: u64) -> f64 {
    wanted as f64 / done as f64
}

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

criterion_group!(all, lane, engine);
criterion_main!(all);
