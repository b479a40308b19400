//! Cycles of one lane for each of the cases, and of the floor beneath them, as text and as JSON lines; or a case by itself, for
//! a count of its instructions.
#![forbid(unsafe_code)]

use std::io::Write as _;

use benches::cases::{CASES, Case, Counted, Meter, Plan, Run, Unmeasured};
use benches::cycles::{Summary, Windows};
use benches::floor::Floor;
use benches::rig::{Application, PortOptions, timed};
use clap::Parser;
use drivers::HugePageAllocator;
use drivers::clock::cycles;
use stack::lane::Lane;

#[global_allocator]
static ALLOCATOR: HugePageAllocator = HugePageAllocator;

/// Measure one lane with both ends of its wire in this process. What is timed is the lane's turn and the application's
/// share of it: not the far ends, nor the checks of what they are sent.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    /// Cases, by name; all by default. `floor` is what no engine can do less of for a request.
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
    /// Connections there are.
    #[arg(long, value_delimiter = ',', default_values_t = [1000])]
    flows: Vec<usize>,
    /// Of them, those that anything is asked of; all by default.
    #[arg(long)]
    busy: Option<usize>,
    /// Frames that arrive at a time, at most. A turn takes 32 of them, or more while more are waiting.
    #[arg(long, value_delimiter = ',', default_values_t = [32])]
    bursts: Vec<usize>,
    /// Transactions of each measurement.
    #[arg(long, default_value_t = 200_000)]
    transactions: u64,
    /// The lane verifies and fills in checksums itself.
    #[arg(long)]
    software_checksums: bool,
    /// The port cuts payload into segments.
    #[arg(long)]
    segmentation: bool,
    /// The port takes frames in one piece only: payload is copied behind its headers.
    #[arg(long)]
    copies: bool,
    /// Without the fast path.
    #[arg(long)]
    slow: bool,
    /// Run, and measure nothing.
    #[arg(long)]
    count: bool,
    /// Write one JSON object a line to this file, or with `-` to standard output.
    #[arg(long)]
    json: Option<String>,
}

/// Notes the cycles of each round.
#[derive(Default)]
struct Cycles {
    round: u64,
    windows: Windows,
}

impl Meter for Cycles {
    fn turn(&mut self, lane: &mut Lane, application: &mut impl Application) {
        let began = cycles();
        timed(lane, application);
        self.round += cycles().wrapping_sub(began);
    }
}

/// What two readings of the counter cost by themselves.
fn overhead() -> u64 {
    (0..1000).map(|_| cycles()).map(|began| cycles().wrapping_sub(began)).min().unwrap_or(0)
}

fn measure(plan: Plan, busy: Option<usize>, transactions: u64) -> Option<Summary> {
    let mut run = Run::new(plan);
    if let Some(busy) = busy {
        run.keep_busy(busy);
    }
    // Until everything that grows has grown, and nearly every connection has had its first.
    let mut done = 0;
    while done < plan.flows as u64 * 2 {
        done += run.round(&mut Unmeasured);
    }
    let (mut meter, overhead, mut done) = (Cycles::default(), overhead(), 0);
    while done < transactions {
        meter.round = 0;
        let finished = run.round(&mut meter);
        meter.windows.note(meter.round.saturating_sub(overhead), finished);
        done += finished;
    }
    run.check();
    meter.windows.summary()
}

/// The name of what lies beneath all cases.
const FLOOR: &str = "floor";

fn measure_floor(flows: usize, burst: usize, transactions: u64) -> Option<Summary> {
    let (mut floor, mut windows) = (Floor::new(flows), Windows::default());
    let (overhead, warm_up) = (overhead(), flows as u64 * 2);
    let mut done = 0;
    while done < warm_up + transactions {
        floor.prepare(burst);
        let began = cycles();
        floor.pass();
        let passed = cycles().wrapping_sub(began).saturating_sub(overhead);
        floor.check();
        if done >= warm_up {
            windows.note(passed, burst as u64);
        }
        done += burst as u64;
    }
    windows.summary()
}

fn count(plan: Plan, busy: Option<usize>, transactions: u64) {
    let (mut run, mut done) = (Run::new(plan), 0);
    if let Some(busy) = busy {
        run.keep_busy(busy);
    }
    while done < transactions {
        done += run.round(&mut Counted);
    }
    run.check();
    println!("{done} transactions");
}

fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let known = |name: &String| match CASES.iter().find(|(known, _)| known == name) {
        Some((name, case)) => Some((*name, Some(*case))),
        None => (name == FLOOR).then_some((FLOOR, None)),
    };
    let unknown = options.cases.iter().find(|name| known(name).is_none());
    if let Some(name) = unknown {
        let names = CASES.map(|(name, _)| name).join(", ");
        eprintln!("engine: there is no case {name}: name some of {names}, {FLOOR}");
        std::process::exit(2);
    }
    let cases: Vec<(&str, Option<Case>)> = if options.cases.is_empty() {
        CASES.iter().map(|(name, case)| (*name, Some(*case))).chain([(FLOOR, None)]).collect()
    } else {
        options.cases.iter().filter_map(known).collect()
    };
    let mut json: Option<Box<dyn std::io::Write>> = match options.json.as_deref() {
        None => None,
        Some("-") => Some(Box::new(std::io::stdout())),
        Some(path) => Some(Box::new(std::fs::File::create(path)?)),
    };
    let port = PortOptions {
        checksums: !options.software_checksums,
        segmentation: options.segmentation,
        gather: !options.copies,
    };
    if !options.count {
        println!(
            "{:14} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8}  cycles each",
            "case", "flows", "burst", "p10", "p50", "p90", "mean"
        );
    }
    for (name, case) in cases {
        for &flows in &options.flows {
            for &burst in &options.bursts {
                let plan = case.map(|case| Plan { case, flows, burst, port, fast: !options.slow });
                if options.count {
                    plan.into_iter().for_each(|plan| count(plan, options.busy, options.transactions));
                    continue;
                }
                let summary = match plan {
                    Some(plan) => measure(plan, options.busy, options.transactions),
                    None => measure_floor(flows, burst, options.transactions),
                };
                let Some(summary) = summary else { continue };
                let Summary { p10, p50, p90, mean, transactions } = summary;
                println!("{name:14} {flows:8} {burst:6} {p10:8.0} {p50:8.0} {p90:8.0} {mean:8.0}");
                if let Some(json) = &mut json {
                    let line = serde_json::json!({
                        "bench": "engine", "variant": name, "flows": flows, "burst": burst, "unit": "cycles",
                        "p10": p10, "p50": p50, "p90": p90, "mean": mean, "n": transactions,
                        "checksums": if port.checksums { "port" } else { "lane" }, "fast_path": !options.slow,
                    });
                    writeln!(json, "{line}")?;
                }
            }
        }
    }
    Ok(())
}
