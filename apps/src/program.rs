//! From options to a running program: signals, reports, one line for each error. What it serves is passed in.

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use clap::Parser;
use corelane::{Lane, LaneError, LaneWaker, PROVENANCE, Report, Runtime, Stopper};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::configuration::{Origins, Refusal, read};
use crate::options::{LaneArguments, split_arguments};
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
    let (eal, own) = split_arguments(std::env::args().skip(1).collect());
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
    let _ = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).try_init();
    tracing::info!("corelane {PROVENANCE}");
}

/// Run `app` on the lane until SIGINT or SIGTERM, and report its counters at the end and on SIGUSR1.
///
/// `ready` is the line that says so, given the address and the device.
pub fn run_lane<A>(
    runtime: Runtime,
    arguments: &LaneArguments,
    ready: impl Fn(SocketAddr, &str) -> String + Sync,
    app: A,
) -> Result<(), ProgramError>
where
    A: Fn(Lane, &mut LaneWatch<'_>) -> Result<(), LaneError> + Sync,
{
    let asked = Arc::new(Asked::default());
    handle_signals(runtime.stopper(), Arc::clone(&asked))?;
    let (reports, inbox) = channel();
    let reporter = report_to(inbox, arguments.json_report.clone())?;
    let device = arguments.device.to_string();
    let ready = |local: SocketAddr| ready(local, &device);
    let result = runtime.run(|lane| {
        asked.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(lane.waker());
        let mut watch = LaneWatch { ready: &ready, asked: &asked, reports: reports.clone() };
        app(lane, &mut watch)
    });
    drop(reports);
    // A panic there was printed there.
    let written = reporter.join().unwrap_or(Ok(()));
    result?;
    Ok(written?)
}

/// A report that somebody asked for, and the lanes to wake so that they see it.
#[derive(Debug, Default)]
struct Asked {
    report: AtomicBool,
    wakers: Mutex<Vec<LaneWaker>>,
}

/// A thread that waits for signals and does nothing else.
fn handle_signals(stopper: Stopper, asked: Arc<Asked>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    let wait = move || {
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                asked.report.store(true, Ordering::Release);
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

/// What lanes tell the reporter.
enum Note {
    /// Counts after start.
    Start(Box<Report>),
    /// Counts now.
    Now(Box<Report>),
}

/// A thread that prints and writes reports, so that lanes do not wait for a terminal or a disk.
fn report_to(inbox: Receiver<Note>, file: Option<PathBuf>) -> io::Result<JoinHandle<io::Result<()>>> {
    let print = move || {
        let mut start = None;
        let mut written = Ok(());
        for note in inbox {
            match note {
                Note::Start(report) => start = Some(report.to_json()),
                Note::Now(report) => {
                    eprint!("{report}");
                    let json = with_start(report.to_json(), start.as_deref());
                    if let Some(file) = &file {
                        eprintln!("{json}");
                        written = write_whole(file, &json);
                    }
                }
            }
        }
        written
    };
    thread::Builder::new().name("report".into()).spawn(print)
}

/// A report's JSON with the counts after start under the key `start`.
fn with_start(report: String, start: Option<&str>) -> String {
    match (start, report.strip_suffix('}')) {
        (Some(start), Some(open)) => format!("{open},\"start\":{start}}}"),
        _ => report,
    }
}

/// Write a file in one step: whoever reads it sees the old one or the new one.
fn write_whole(file: &Path, json: &str) -> io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let explain = |error: io::Error| {
        let text = format!("cannot write the report to `{}` ({error}); name another file", file.display());
        io::Error::new(error.kind(), text)
    };
    fs::write(&name, format!("{json}\n")).and_then(|()| fs::rename(&name, file)).map_err(explain)
}

/// What the program wants to know of its lane.
pub struct LaneWatch<'a> {
    ready: &'a (dyn Fn(SocketAddr) -> String + Sync),
    asked: &'a Asked,
    reports: Sender<Note>,
}

impl LaneWatch<'_> {
    fn tell(&self, note: Note) {
        // The reporter outlives the lane, unless it panicked, which was printed.
        let _ = self.reports.send(note);
    }
}

impl Watch for LaneWatch<'_> {
    fn ready(&mut self, lane: &Lane, local: SocketAddr) {
        self.tell(Note::Start(Box::new(lane.report())));
        let mut out = io::stdout().lock();
        // Whoever closed our output does not want to know.
        let _ = writeln!(out, "{}", (self.ready)(local)).and_then(|()| out.flush());
    }

    fn turn(&mut self, lane: &Lane) {
        if self.asked.report.load(Ordering::Acquire) && self.asked.report.swap(false, Ordering::AcqRel) {
            self.tell(Note::Now(Box::new(lane.report())));
        }
    }

    fn end(&mut self, lane: &Lane) {
        self.tell(Note::Now(Box::new(lane.report())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_goes_into_the_report() {
        // Shows the one object that comes of two, and that a report without a start stays as it is.
        assert_eq!(with_start("{\"a\":1}".into(), Some("{\"a\":0}")), "{\"a\":1,\"start\":{\"a\":0}}");
        assert_eq!(with_start("{\"a\":1}".into(), None), "{\"a\":1}");
    }

    #[test]
    fn a_report_that_cannot_be_written_says_where() {
        // Shows the one line an operator gets for a folder that is not there.
        let error = write_whole(Path::new("/nonexistent/report.json"), "{}").unwrap_err().to_string();
        assert!(
            error.contains("`/nonexistent/report.json`") && error.contains("name another file"),
            "{error}"
        );
    }
}
