//! `echo`: sends whatever arrives back.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use apps::echo::{Manner, serve_all};
use apps::options::LaneArguments;
use apps::program::{self, ProgramError};
use clap::Parser;
use corelane::{HugePageAllocator, Runtime};

#[global_allocator]
static ALLOCATOR: HugePageAllocator = HugePageAllocator;

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

    /// Drop what arrives, rather than send it back
    #[arg(long)]
    discard: bool,

    /// Send pieces of so many bytes on each connection, without end, and drop what arrives
    #[arg(long, value_name = "BYTES", conflicts_with = "discard", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    generate: Option<u32>,
}

fn main() -> ExitCode {
    program::main("echo", run)
}

fn run(options: Options, eal: Vec<String>) -> Result<(), ProgramError> {
    program::log(options.lane.verbose);
    let runtime = Runtime::new(options.lane.config(eal)?)?;
    let address = options.lane.listen(options.port);
    let ready = |local, device: &str| format!("echo: listening at {local} on {device}");
    let manner = match options.generate {
        Some(bytes) => Manner::Generate(usize::try_from(bytes).unwrap_or(usize::MAX)),
        None if options.discard => Manner::Discard,
        None => Manner::Echo,
    };
    program::run_lanes(runtime, &options.lane, ready, |set, watch| serve_all(set, address, manner, watch))
}
