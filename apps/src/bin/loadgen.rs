//! `loadgen`: loads an HTTP or echo server from one lane, and tells how it fared.
#![forbid(unsafe_code)]

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use apps::loadgen::options::Options;
use apps::loadgen::{Client, Plan, Progress, Results, drive_all, json, show, text};
use apps::program::{self, ProgramError};
use corelane::{HugePageAllocator, Lane, Runtime};

#[global_allocator]
static ALLOCATOR: HugePageAllocator = HugePageAllocator;

fn main() -> ExitCode {
    program::main("loadgen", run)
}

fn run(options: Options, eal: Vec<String>) -> Result<(), ProgramError> {
    program::log(options.lane.verbose);
    // Looked at before any device is touched: what can be told at once is told at once.
    let plan = options.plan()?;
    let runtime = Runtime::new(options.config(&plan, eal)?)?;
    let lanes = runtime.lanes();
    let progress: Vec<Arc<Progress>> = (0..lanes).map(|_| Arc::default()).collect();
    let found = Mutex::new(vec![Results::default(); lanes]);
    let drawing = show(progress.clone(), plan.requests, plan.duration);
    let ready = |_, _: &str| String::new();
    let result = program::run_lanes(runtime, &options.lane, ready, |mut set, watch| {
        let mine: Vec<usize> = set.lanes().iter().map(|lane| usize::from(lane.id().0)).collect();
        let client = |lane: &Lane| {
            let index = usize::from(lane.id().0);
            Some(Client::new(&plan, (index, lanes), Arc::clone(&progress[index])))
        };
        let results = match options.lane.json_report.is_some() || options.lane.verbose {
            true => drive_all(set, client, watch),
            false => drive_all(set, client, &mut ()),
        }?;
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        mine.into_iter().zip(results).for_each(|(index, results)| found[index] = results);
        Ok(())
    });
    if let Some(drawing) = drawing {
        drawing.end();
    }
    result?;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    tell(&options, &plan, &found)
}

/// Print the results, and judge them.
fn tell(options: &Options, plan: &Plan, lanes: &[Results]) -> Result<(), ProgramError> {
    let mut total = Results::default();
    lanes.iter().for_each(|lane| total.merge(lane));
    let target = options.target.to_string();
    let object = || json(&target, plan, &total, lanes) + "\n";
    let readable = match &options.json {
        Some(file) if file == Path::new("-") => object(),
        _ => text(&target, plan, &total, lanes),
    };
    let mut out = io::stdout().lock();
    // Whoever closed our output does not want to know.
    let _ = out.write_all(readable.as_bytes()).and_then(|()| out.flush());
    if let Some(file) = options.json.as_ref().filter(|file| file.as_path() != Path::new("-")) {
        std::fs::write(file, object()).map_err(|error| {
            format!("cannot write the results to `{}` ({error}); name another file", file.display())
        })?;
    }
    match total.errors_all() {
        0 => Ok(()),
        _ if options.allow_errors => Ok(()),
        count => {
            Err(format!("{count} errors, by kind above; --allow-errors ends with status 0 all the same")
                .into())
        }
    }
}
