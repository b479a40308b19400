//! `httpd`: serves a folder over HTTP/1.1 on one lane.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apps::files::{CacheOptions, Files};
use apps::httpd::{ServerOptions, serve};
use apps::options::LaneArguments;
use apps::program::{self, ProgramError};
use clap::Parser;
use corelane::Runtime;

/// The site that comes with the sources.
const DEFAULT_SITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../site");

/// Serves a folder over HTTP/1.1 on a user-level TCP/IP stack.
///
/// Arguments before a bare `--` are DPDK's own.
#[derive(Debug, Parser)]
#[command(name = "httpd", version)]
struct Options {
    #[command(flatten)]
    lane: LaneArguments,

    /// Folder to serve [default: the site that comes with the sources]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Port to listen on
    #[arg(long, value_name = "N", default_value_t = 80)]
    port: u16,
}

fn main() -> ExitCode {
    program::main("httpd", run)
}

fn run(options: Options, eal: Vec<String>) -> Result<(), ProgramError> {
    program::log(options.lane.verbose);
    // Looked at before any device is touched: what can be told at once is told at once.
    let root = folder(options.root.as_deref().unwrap_or(Path::new(DEFAULT_SITE)))?;
    let runtime = Runtime::new(options.lane.config(eal))?;
    // The chunk cache takes memory that the device reads, which is there only now.
    let files = Files::start(&root, CacheOptions::default()).map_err(|error| unreadable(&root, &error))?;
    let address = options.lane.listen(options.port);
    let ready =
        |local, device: &str| format!("httpd: serving {} at http://{local}/ on {device}", root.display());
    let result = program::run_lane(runtime, &options.lane, ready, |lane, watch| {
        let files = files.lane(lane.waker());
        serve(lane, address, files, ServerOptions::default(), watch)
    });
    files.join();
    result
}

fn folder(path: &Path) -> Result<PathBuf, ProgramError> {
    let readable = path.canonicalize().and_then(|path| path.read_dir().map(|_| path));
    Ok(readable.map_err(|error| unreadable(path, &error))?)
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("cannot serve `{}` ({error}); name a folder that can be read with --root", path.display())
}
