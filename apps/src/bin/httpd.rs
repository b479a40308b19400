//! `httpd`: serves a folder over HTTP/1.1.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use apps::configuration::Origins;
use apps::files::{Files, FilesOptions};
use apps::httpd::settings::{ALTERNATIVES, Options};
use apps::httpd::{AccessLog, Board, Equipment, StatusLine, serve_all};
use apps::program::{self, ProgramError};
use corelane::{HugePageAllocator, Lane, Runtime};
use signal_hook::consts::SIGHUP;

#[global_allocator]
static ALLOCATOR: HugePageAllocator = HugePageAllocator;

/// The site that comes with the sources.
const DEFAULT_SITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../site");

fn main() -> ExitCode {
    program::main_with_file("httpd", &ALTERNATIVES, run)
}

fn run(options: Options, origins: Origins, eal: Vec<String>) -> Result<(), ProgramError> {
    // Looked at before any device is touched: what can be told at once is told at once.
    options.check(&origins)?;
    let root = folder(options.root.as_deref().unwrap_or(Path::new(DEFAULT_SITE)))?;
    if options.check {
        println!("httpd: these options are good");
        return Ok(());
    }
    program::log(options.lane.verbose);
    let log = options.access_log.as_deref().map(access_log).transpose()?;
    if log.is_none() {
        // Whoever rotates logs says so to all alike: without a log it means nothing, and ends nothing.
        signal_hook::flag::register(SIGHUP, Arc::default())?;
    }
    let runtime = Runtime::new(options.lane.config(eal)?)?;
    // The chunk cache takes memory that the device reads, which is there only now.
    let site = FilesOptions { listing: options.listing, ..FilesOptions::default() };
    let files = Files::start(&root, site).map_err(|error| unreadable(&root, &error))?;
    let board = Arc::new(Board::default());
    let status = if options.quiet { None } else { StatusLine::start(Arc::clone(&board))? };
    let (doors, server) = (options.doors(), options.server());
    let secure = options.secure()?;
    let scheme = |door| if options.tls_listen.contains(door) { "https" } else { "http" };
    let more = doors.site.iter().skip(1).map(|door| format!(" and {}://{door}/", scheme(door)));
    let more: String = more.collect();
    let first = doors.site.first().map_or("http", scheme);
    let shown = root.display().to_string();
    let ready =
        move |local, device: &str| format!("httpd: serving {shown} at {first}://{local}/{more} on {device}");
    let result = program::run_lanes(runtime, &options.lane, ready, |set, watch| {
        let equip = |lane: &Lane| {
            Some(Equipment {
                files: files.lane(lane.waker()),
                log: log.as_ref().map(AccessLog::lane),
                board: Some(Arc::clone(&board)),
                metrics: options.metrics.clone(),
                secure: secure.clone(),
            })
        };
        serve_all(set, &doors, equip, server, watch)
    });
    drop(status);
    files.join();
    if let Some(log) = log {
        log.close();
    }
    let mut seen = Vec::new();
    board.look(&mut seen);
    let dropped: u64 = seen.iter().map(|lane| lane.server.log_dropped).sum();
    if dropped > 0 {
        eprintln!("httpd: {dropped} records are missing in the access log; its disk was too slow or full");
    }
    result
}

/// Open the access log, and open it anew on SIGHUP.
fn access_log(path: &Path) -> Result<AccessLog, ProgramError> {
    let log = AccessLog::open(path).map_err(|error| {
        format!(
            "cannot write `{}` ({error}); name a file that can be written with --access-log",
            path.display()
        )
    })?;
    signal_hook::flag::register(SIGHUP, log.reopen())?;
    Ok(log)
}

fn folder(path: &Path) -> Result<PathBuf, ProgramError> {
    let readable = path.canonicalize().and_then(|path| path.read_dir().map(|_| path));
    Ok(readable.map_err(|error| unreadable(path, &error))?)
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("cannot serve `{}` ({error}); name a folder that can be read with --root", path.display())
}
