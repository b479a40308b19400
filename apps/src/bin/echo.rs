//! `echo`: sends whatever arrives back.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use apps::echo::echo_all;
use apps::options::LaneArguments;
use apps::program::{self, ProgramError};
use clap::Parser;
use corelane::Runtime;

/// Sends back whatever arrives, on a user-level TCP/IP stack.
///
/// Arguments before a bare `--` are DPDK's own.
#[derive(Debug, Parser)]
#[command(name = "echo", version)]
struct Options {
    #[command(flatten)]
    lane: LaneArguments,

    /// Port to listen on
    #[arg(long, value_name = "N", default_value_t = 7)]
    port: u16,
}

fn main() -> ExitCode {
    program::main("echo", run)
}

fn run(options: Options, eal: Vec<String>) -> Result<(), ProgramError> {
    program::log(options.lane.verbose);
    let runtime = Runtime::new(options.lane.config(eal)?)?;
    let address = options.lane.listen(options.port);
    let ready = |local, device: &str| format!("echo: listening at {local} on {device}");
    program::run_lanes(runtime, &options.lane, ready, |set, watch| echo_all(set, address, watch))
}
