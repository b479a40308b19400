//! `corelane`: what there is to do about a host, rather than on one. `corelane doctor` examines it.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use apps::doctor::{Question, Root, Verdict, examine};
use clap::{Args, Parser, Subcommand};
use corelane::{Device, HugePageAllocator, PROVENANCE};

#[global_allocator]
static ALLOCATOR: HugePageAllocator = HugePageAllocator;

/// Tools around Corelane's programs.
#[derive(Debug, Parser)]
#[command(name = "corelane", version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether this host is ready, and the command that mends what is not; it changes nothing itself
    ///
    /// The exit status is 0 if nothing is wrong (there may be warnings), 1 if something is, 2 for bad options.
    Doctor(DoctorOptions),
}

#[derive(Debug, Args)]
struct DoctorOptions {
    /// The device a program is to run on: a PCI address (0000:01:00.0), tap:NAME, and all the programs take [default:
    /// whatever NIC there is]
    #[arg(long, value_name = "DEVICE")]
    device: Option<Device>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Look for /sys, /proc, /dev and /usr below this folder, for tests
    #[arg(long, value_name = "ROOT", default_value = "/", hide = true)]
    sys: PathBuf,
}

fn main() -> ExitCode {
    let Options { command: Command::Doctor(options) } = Options::parse();
    let question = Question {
        device: options.device,
        ssh: std::env::var("SSH_CONNECTION").ok(),
        dpdk: PROVENANCE.dpdk.to_owned(),
    };
    let report = examine(&Root::new(options.sys), &question);
    let text =
        if options.json { format!("{:#}\n", report.json()) } else { report.text(io::stdout().is_terminal()) };
    // A reader that has seen enough closes the pipe; the status is still told.
    let _ = io::stdout().write_all(text.as_bytes());
    if report.verdict() == Verdict::Wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
