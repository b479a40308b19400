//! What a connection costs in memory while it does nothing: established, and in TIME_WAIT.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::io::Write as _;

use benches::far::{Far, Say};
use benches::rig::{Application, PortOptions, Rig, frame_pools, server, untimed};
use clap::Parser;
use drivers::CountingAllocator;
use stack::lane::Lane;
use stack::socket::{Event, Op, QueueId, Stream};
use stack::wire::tcp::Flags;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Open connections to one lane, and tell how many bytes each takes: of what the allocator gave out, and of this
/// process's resident memory. Then the lane closes them, and the same is told of TIME_WAIT.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    /// Connections.
    #[arg(long, default_value_t = 1_000_000)]
    flows: usize,
    /// Write one JSON object a line to this file, or with `-` to standard output.
    #[arg(long)]
    json: Option<String>,
}

/// How long a connection stays in it.
const TIME_WAIT: Duration = Duration::from_secs(60);

/// Takes connections, and closes them when told to.
#[derive(Default)]
struct Holder {
    streams: Vec<Stream>,
    closed: usize,
}

impl Application for Holder {
    fn run(&mut self, lane: &mut Lane) {
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Accepted { stream, .. } => self.streams.push(stream),
                Event::Closed { .. } => self.closed += 1,
                _ => {}
            }
        }
    }
}

/// Bytes out, by the allocator and by the kernel.
#[derive(Clone, Copy)]
struct Memory {
    live: u64,
    resident: u64,
}

impl Memory {
    fn now() -> Memory {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        let kibibytes = line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        Memory { live: CountingAllocator::live_bytes(), resident: kibibytes.unwrap_or(0) * 1024 }
    }

    fn each(self, since: Memory, flows: usize) -> (f64, f64) {
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 bytes")]
        let each = |now: u64, then: u64| (now as f64 - then as f64) / flows as f64;
        (each(self.live, since.live), each(self.resident, since.resident))
    }
}

struct Run {
    rig: Rig,
    far: Far,
    holder: Holder,
}

impl Run {
    /// The flows' far ends say something, and what comes back is taken.
    fn exchange(&mut self, flows: &[u32], say: &Say) {
        let mut frames: Vec<_> = flows.iter().map(|&flow| self.far.say(flow, say)).collect();
        self.rig.arrive(&mut frames);
        self.turn();
    }

    fn turn(&mut self) {
        let mut sent = Vec::new();
        let mut taken = false;
        // And one more, for what the application says to the last of them.
        while !taken {
            taken = self.rig.is_taken();
            self.rig.pass(1_000);
            untimed(&mut self.rig.lane, &mut self.holder);
            self.rig.sent(&mut sent);
        }
        for frame in sent.drain(..) {
            if let Some(heard) = self.far.hear(&frame) {
                self.far.take(&heard);
            }
        }
    }
}

fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let flows = options.flows;
    let port = PortOptions { checksums: true, segmentation: false, gather: true };
    // What the bench itself keeps is there before anything is counted.
    let far = Far::new(flows, true);
    let holder = Holder { streams: Vec::with_capacity(flows), closed: 0 };
    let pools = {
        let (before, _pools) = (CountingAllocator::live_bytes(), frame_pools());
        CountingAllocator::live_bytes() - before
    };
    let before = Memory::now();
    let rig = Rig::new(flows, 1, port, |config| {
        config.time_wait_max = flows;
        config.tcp.time_wait = TIME_WAIT;
    });
    let mut run = Run { rig, far, holder };
    run.rig.lane.submit(Op::listen_eager(server())).expect("the first op fits");
    run.turn();
    let all: Vec<u32> = (0..u32::try_from(flows).expect("fewer flows than fit a word")).collect();
    for chunk in all.chunks(64) {
        run.exchange(chunk, &Say { flags: Flags::SYN, ..Say::ACK });
        run.exchange(chunk, &Say::ACK);
    }
    assert_eq!(run.holder.streams.len(), flows, "every connection is open");
    let open = Memory::now().each(before, flows);
    let streams = core::mem::take(&mut run.holder.streams);
    // As fast as they must be closed for all of them to be in TIME_WAIT at its end: what a connection has promised the wheel
    // is over a second later.
    let closings = u64::try_from(flows.div_ceil(64)).unwrap_or(u64::MAX);
    let pause = u64::try_from(TIME_WAIT.as_nanos()).unwrap_or(u64::MAX) * 9 / 10 / closings;
    for (streams, chunk) in streams.chunks(64).zip(all.chunks(64)) {
        run.rig.pass(pause);
        for &stream in streams {
            assert!(run.rig.lane.submit(Op::close(stream)).is_ok(), "a batch holds them");
        }
        run.turn();
        run.exchange(chunk, &Say { flags: Flags::ACK | Flags::FIN, ..Say::ACK });
    }
    let report = run.rig.lane.report();
    assert_eq!(
        (run.holder.closed, report.time_wait),
        (flows, flows),
        "every connection is in TIME_WAIT: {report}"
    );
    let rests = Memory::now().each(before, flows);
    let mut json: Option<Box<dyn std::io::Write>> = match options.json.as_deref() {
        None => None,
        Some("-") => Some(Box::new(std::io::stdout())),
        Some(path) => Some(Box::new(std::fs::File::create(path)?)),
    };
    // Buffers serve all flows, however many there are.
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 bytes")]
    let established = (open.0 - pools as f64 / flows as f64, open.1);
    println!(
        "{flows} connections, all tables of the lane included, in bytes each; pools of frames, {pools} bytes in"
    );
    println!("all, are in what is resident alone:");
    // What the flows had stays with the lane, for the next ones.
    let wait = (rests.0 - open.0, rests.1 - open.1);
    for (name, (live, resident)) in [("established", established), ("TIME_WAIT", wait)] {
        println!("  {name:12} {live:8.1} allocated, {resident:8.1} resident");
        if let Some(json) = &mut json {
            let line = serde_json::json!({
                "bench": "memory", "variant": name, "flows": flows, "unit": "bytes",
                "bytes_per_conn": live, "resident_per_conn": resident,
            });
            writeln!(json, "{line}")?;
        }
    }
    Ok(())
}
