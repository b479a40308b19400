//! Which cache lines of its connections' memory a lane touches, by a trace of its loads and stores: this program runs itself
//! under valgrind's lackey, which writes one line for each, and counts those that lie in the tables and in timed turns.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Error};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use benches::cases::{CASES, Case, Meter, Plan, Run, Unmeasured};
use benches::rig::{Application, PortOptions, timed};
use clap::Parser;
use stack::lane::Lane;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Stored to at the beginning of a timed turn and at its end, which the trace shows.
static BEGIN: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);

/// Count the cache lines that a transaction touches in the tables of connections. Takes a minute a case, and valgrind.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    /// Cases, by name.
    #[arg(long, value_delimiter = ',', default_value = "rr_64,rx_data,ack_only,bulk_rx")]
    cases: Vec<String>,
    /// Connections there are.
    #[arg(long, default_value_t = 1000)]
    flows: usize,
    /// Transactions of each measurement.
    #[arg(long, default_value_t = 2000)]
    transactions: u64,
    /// Also tell which functions touch this table.
    #[arg(long)]
    who: Option<String>,
    /// Run one case, and say in this file where the tables are.
    #[arg(long, hide = true)]
    traced: Option<PathBuf>,
}

/// Marks timed turns in the trace.
struct Marks;

impl Meter for Marks {
    fn turn(&mut self, lane: &mut Lane, application: &mut impl Application) {
        BEGIN.fetch_add(1, Ordering::Relaxed);
        timed(lane, application);
        END.fetch_add(1, Ordering::Relaxed);
    }
}

/// The part of this program that is traced.
fn run(case: Case, options: &Options, told: &Path) -> std::io::Result<()> {
    let port = PortOptions { checksums: true, segmentation: false, gather: true };
    let mut run = Run::new(Plan { case, flows: options.flows, burst: 32, port, fast: true });
    // Every connection has had its turn: what grows has grown.
    let mut done = 0;
    while done < 2 * options.flows as u64 {
        done += run.round(&mut Unmeasured);
    }
    let mut text = String::new();
    for place in run.places() {
        let _ = writeln!(text, "{} {} {}", place.at.start, place.at.end, place.name);
    }
    for (mark, name) in [(&BEGIN, "begin"), (&END, "end")] {
        let at = core::ptr::from_ref(mark).addr();
        let _ = writeln!(text, "{at} {} mark {name}", at + size_of::<AtomicU64>());
    }
    std::fs::write(told, text)?;
    let mut finished = 0;
    while finished < options.transactions {
        finished += run.round(&mut Marks);
    }
    println!("{finished}");
    Ok(())
}

/// Tables, by the addresses of their ends.
#[derive(Default)]
struct Places {
    tables: Vec<(usize, usize, String)>,
    marks: [usize; 2],
}

impl Places {
    fn read(told: &Path) -> Option<Places> {
        let text = std::fs::read_to_string(told).ok()?;
        let mut places = Places::default();
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (start, end) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            match words.next()? {
                "mark begin" => places.marks[0] = start,
                "mark end" => places.marks[1] = start,
                name => places.tables.push((start, end, name.to_owned())),
            }
        }
        (places.marks[1] != 0).then_some(places)
    }

    fn name(&self, at: usize) -> Option<&str> {
        let table = self.tables.iter().find(|(start, end, _)| (*start..*end).contains(&at));
        table.map(|(.., name)| name.as_str())
    }
}

/// What the trace has shown.
#[derive(Default)]
struct Lines {
    /// Lines of each table, each counted once a turn.
    touched: BTreeMap<String, u64>,
    /// Instructions that touch the table that is asked about, by how often.
    who: BTreeMap<usize, u64>,
}

/// Go through the trace of one run.
fn follow(trace: impl BufRead, told: &Path, who: Option<&str>) -> std::io::Result<Lines> {
    let (mut lines, mut places, mut timed, mut from) = (Lines::default(), None, false, 0);
    let mut seen = std::collections::HashSet::new();
    for (number, line) in trace.lines().enumerate() {
        let line = line?;
        if places.is_none() && number % 4096 == 0 {
            places = Places::read(told);
        }
        let Some(places) = &places else { continue };
        let mut words = line.split_whitespace();
        let (Some(kind), Some(place)) = (words.next(), words.next()) else { continue };
        let Some((at, size)) = place.split_once(',') else { continue };
        let (Ok(at), Ok(size)) = (usize::from_str_radix(at, 16), size.parse::<usize>()) else { continue };
        if kind == "I" {
            from = at;
            continue;
        }
        if at == places.marks[0] || at == places.marks[1] {
            timed = at == places.marks[0];
            seen.clear();
        }
        let Some(name) = places.name(at).filter(|_| timed) else { continue };
        for line in at / LINE..=(at + size.max(1) - 1) / LINE {
            if seen.insert(line) {
                *lines.touched.entry(name.to_owned()).or_default() += 1;
                if who == Some(name) {
                    *lines.who.entry(from).or_default() += 1;
                }
            }
        }
    }
    Ok(lines)
}

/// Trace one case and print what it touches.
fn trace(name: &str, options: &Options) -> std::io::Result<()> {
    let told = std::env::temp_dir().join(format!("corelane-lines-{}-{name}", std::process::id()));
    let (flows, transactions) = (options.flows.to_string(), options.transactions.to_string());
    let mut child = Command::new("valgrind")
        .args(["--tool=lackey", "--trace-mem=yes", "--log-fd=2"])
        .arg(std::env::current_exe()?)
        .args(["--cases", name, "--flows", &flows, "--transactions", &transactions, "--traced"])
        .arg(&told)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Error::new(error.kind(), format!("valgrind did not start ({error}): install it")))?;
    let trace = child.stderr.take().ok_or_else(|| Error::other("no trace"))?;
    let lines = follow(BufReader::with_capacity(1 << 20, trace), &told, options.who.as_deref());
    let mut said = String::new();
    if let Some(mut out) = child.stdout.take() {
        std::io::Read::read_to_string(&mut out, &mut said)?;
    }
    child.wait()?;
    let _ = std::fs::remove_file(&told);
    let (lines, done) = (lines?, said.trim().parse::<u64>().unwrap_or(0));
    if done == 0 {
        return Err(Error::other(format!("the traced run of {name} did not finish: {said}")));
    }
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 lines")]
    let each = |count: u64| count as f64 / done as f64;
    let state = ["bucket", "hot part", "cold part"].map(|name| lines.touched.get(name).copied().unwrap_or(0));
    print!("{name:14} {:8.2}", each(state.iter().sum()));
    for (name, count) in &lines.touched {
        print!("   {name} {:.2}", each(*count));
    }
    println!();
    let mut who: Vec<_> = lines.who.into_iter().collect();
    who.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
    for (at, count) in who.into_iter().take(24) {
        println!("    {:8.2} at {at:#x}", each(count));
    }
    Ok(())
}

fn main() -> ExitCode {
    let options = Options::parse();
    let known = |name: &str| CASES.iter().find(|(known, _)| *known == name).map(|(_, case)| *case);
    if let Some(name) = options.cases.iter().find(|name| known(name).is_none()) {
        let names = CASES.map(|(name, _)| name).join(", ");
        eprintln!("lines: there is no case {name}: name some of {names}");
        return ExitCode::from(2);
    }
    if let Some((told, case)) =
        options.traced.as_ref().zip(options.cases.first().and_then(|name| known(name)))
    {
        return match run(case, &options, told) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("lines: {}: {error}", told.display());
                ExitCode::FAILURE
            }
        };
    }
    println!(
        "{:14} {:>8}   cache lines of each transaction: buckets, hot and cold parts; and by tables",
        "case", "lines"
    );
    for name in &options.cases {
        if let Err(error) = trace(name, &options) {
            eprintln!("lines: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
