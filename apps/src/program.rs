//! From options to a running program: signals, reports, one line for each error. What it serves is passed in.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use clap::Parser;
use corelane::{Lane, LaneError, LaneId, LaneSet, LaneWaker, PROVENANCE, Runtime, Stopper};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::configuration::{Origins, Refusal, read};
use crate::options::{LaneArguments, split_arguments};
use crate::reports::{Note, Reporter};
use crate::watch::Watch;

/// Any error a program ends with; its text is one line with cause and remedy.
pub type ProgramError = Box<dyn Error + Send + Sync>;

/// Parse the command line and run: exit status 0, 1 with one line on standard error, or 2 for bad options.
pub fn main<O: Parser>(name: &str, run: impl FnOnce(O, Vec<String>) -> Result<(), ProgramError>) -> ExitCode {
    main_with_file(name, &[], |options, _, eal| run(options, eal))
}

/// The same for a program that reads further options from a file: see [`read`].
pub fn main_with_file<O: Parser>(
    name: &str,
    alternatives: &[(&str, &str)],
    run: impl FnOnce(O, Origins, Vec<String>) -> Result<(), ProgramError>,
) -> ExitCode {
    let (eal, own) = split_arguments(env::args().skip(1).collect());
    let told = |error: &dyn std::fmt::Display| {
        for line in error.to_string().lines() {
            eprintln!("{name}: {line}");
        }
    };
    match read(&own, alternatives) {
        Ok((options, origins)) => match run(options, origins, eal) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                told(&error);
                ExitCode::FAILURE
            }
        },
        Err(Refusal::Text(text)) => text.exit(),
        Err(Refusal::Mistakes(mistakes)) => {
            told(&mistakes);
            ExitCode::from(2)
        }
    }
}

/// Write log lines to standard error.
pub fn log(verbose: bool) {
    let level = if verbose { tracing::Level::DEBUG } else { tracing::Level::WARN };
    // A second call, which only tests could make, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
        .try_init();
    tracing::info!("corelane {PROVENANCE}");
}

/// Run `app` on each thread's lanes until SIGINT or SIGTERM, and report their counters at the end and on SIGUSR1.
///
/// `ready` is the line that says so, given the first lane's address and the devices; nothing is said for none.
pub fn run_lanes<A>(
    runtime: Runtime,
    arguments: &LaneArguments,
    ready: impl Fn(SocketAddr, &str) -> String + Send + 'static,
    app: A,
) -> Result<(), ProgramError>
where
    A: Fn(LaneSet, &mut LaneWatch<'_>) -> Result<(), LaneError> + Sync,
{
    let asked = Arc::new(Asked::default());
    handle_signals(runtime.stopper(), Arc::clone(&asked))?;
    let device = arguments.device_names();
    let ready = move |local| ready(local, &device);
    let (reporter, notes) = Reporter::start(runtime.lanes(), arguments.json_report.clone(), ready)?;
    let result = runtime.run_sets(|mut set| {
        let wakers = set.lanes().iter().map(|lane| lane.waker());
        asked.wakers.lock().unwrap_or_else(PoisonError::into_inner).extend(wakers);
        let mut watch = LaneWatch { asked: &asked, notes: notes.clone(), answered: HashMap::new() };
        app(set, &mut watch)
    });
    drop(notes);
    let written = reporter.join();
    result?;
    Ok(written?)
}

/// How often somebody asked for a report, and the lanes to wake so that they see it.
#[derive(Debug, Default)]
struct Asked {
    times: AtomicU64,
    wakers: Mutex<Vec<LaneWaker>>,
}

/// A thread that waits for signals and does nothing else.
fn handle_signals(stopper: Stopper, asked: Arc<Asked>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    let wait = move || {
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                asked.times.fetch_add(1, Ordering::AcqRel);
                for waker in asked.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    waker.wake();
                }
            } else {
                stopper.stop();
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

/// What the program wants to know of a thread's lanes.
pub struct LaneWatch<'a> {
    asked: &'a Asked,
    notes: Sender<Note>,
    /// How often each lane has answered who asked.
    answered: HashMap<LaneId, u64>,
}

impl LaneWatch<'_> {
    fn tell(&self, note: Note) {
        // The reporter outlives the lanes, unless it panicked, which was printed.
        let _ = self.notes.send(note);
    }
}

impl Watch for LaneWatch<'_> {
    fn ready(&mut self, lane: &Lane, local: SocketAddr) {
        self.tell(Note::Start(local, Box::new(lane.report())));
    }

    fn turn(&mut self, lane: &Lane) {
        let times = self.asked.times.load(Ordering::Acquire);
        if times > 0 && self.answered.insert(lane.id(), times) != Some(times) {
            self.tell(Note::Asked(times, Box::new(lane.report())));
        }
    }

    fn end(&mut self, lane: &Lane) {
        self.tell(Note::End(Box::new(lane.report())));
    }
}
