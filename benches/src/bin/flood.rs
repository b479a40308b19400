//! What a link carries at most one way: full frames as fast as the device takes them, and nothing made of them.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use drivers::clock::Clock;
use drivers::dpdk::{Eal, EalOptions, refuse_tap_signal};
use drivers::{Device, Frame, OpenOptions, Pool, Queue, open};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Frames of a turn.
const BURST: usize = 32;

/// Send frames for a while, or take what comes and drop it. One line of JSON tells how many there were, and for how long the
/// turns lasted in which any moved.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    /// Device, as the other programs name it
    #[arg(long)]
    device: Device,
    /// Send frames of so many bytes, which are written anew for each; without it, receive
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(60..=1514))]
    send: Option<u16>,
    /// For so long: who receives begins with the first frame
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Core that the frames move on; the device's own threads stay off it
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..1024))]
    core: Option<u16>,
    /// Having told, end when the standard input does: until then both ends of the link are there
    #[arg(long)]
    hold: bool,
    /// Run without huge pages, in this much ordinary memory
    #[arg(long, value_name = "MB", num_args = 0..=1, default_missing_value = "256")]
    no_huge: Option<u32>,
}

/// What has moved.
#[derive(Default)]
struct Moved {
    frames: u64,
    bytes: u64,
    busy_ns: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flood: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn core::error::Error>> {
    refuse_tap_signal();
    Eal::init(&EalOptions { no_huge_mib: options.no_huge, ..EalOptions::for_devices([&options.device]) })?;
    let mut opened = open(&options.device, &OpenOptions { receive_frames: 8192, ..OpenOptions::default() })?;
    if let Some(core) = options.core {
        let mut cores = CpuSet::new();
        cores.set(core.into());
        sched_setaffinity(None, &cores).map_err(|error| {
            format!("core {core} is not to be had ({error}): name one that `taskset -cp $$` lists")
        })?;
    }
    let opened = &mut opened.queues[0];
    let queue = &mut *opened.queue;
    let (clock, mut moved, mut frames) = (Clock::new(), Moved::default(), Vec::with_capacity(BURST));
    println!("flood: ready");
    let (mut began, mut now) = (None, clock.nanoseconds());
    while began.is_none_or(|began| now - began < options.seconds * 1_000_000_000) {
        let (count, bytes) = match options.send {
            Some(bytes) => send(queue, &opened.pools.control, now, &mut frames, usize::from(bytes)),
            None => receive(queue, now, &mut frames),
        };
        let after = clock.nanoseconds();
        if count > 0 {
            if began.is_none() {
                began = Some(now);
                println!("flood: moving");
            }
            (moved.frames, moved.bytes) = (moved.frames + count as u64, moved.bytes + bytes as u64);
            moved.busy_ns += after - now;
        } else {
            queue.reclaim();
            std::hint::spin_loop();
        }
        now = after;
    }
    let Moved { frames, bytes, busy_ns } = moved;
    println!(
        "{}",
        serde_json::json!({ "frames": frames, "bytes": bytes, "busy_ns": busy_ns, "seconds": options.seconds })
    );
    if options.hold {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    }
    Ok(())
}

/// Fill a burst up and give it to the device. Returns frames and bytes that went.
fn send(
    queue: &mut dyn Queue,
    pool: &Pool,
    now: u64,
    frames: &mut Vec<Frame>,
    bytes: usize,
) -> (usize, usize) {
    while frames.len() < BURST
        && let Some(mut frame) = pool.take()
    {
        let Some(room) = frame.append(bytes) else { break };
        room.fill(0x5a);
        frames.push(frame);
    }
    let count = queue.transmit(now, frames);
    (count, count * bytes)
}

/// Drop what has come. Returns frames and bytes.
fn receive(queue: &mut dyn Queue, now: u64, frames: &mut Vec<Frame>) -> (usize, usize) {
    let count = queue.receive(now, frames, BURST);
    let bytes = frames.iter().map(Frame::len).sum();
    frames.clear();
    (count, bytes)
}
