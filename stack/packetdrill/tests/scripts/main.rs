//! Runs each script of `stack/tests/scripts` against the plug-in, in a process of its own, with the stack's fast path and
//! without, and sums up as other tests do.
//! Usage: `cargo test -p packetdrill --test scripts -- [PART OF A NAME]...`; `--script FILE` runs one file, wherever it is,
//! `--slow FILE` the same without the fast path.

mod calls;
mod code;
mod compare;
mod constants;
mod interface;
mod language;
mod options;
mod parse;
mod run;
mod wire;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where the scripts are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/scripts");
/// How long a script may take: all its time is virtual, so that this is a thousand times what it needs.
const SECONDS_MAX: u64 = 60;
/// Scripts that run at once.
const WORKERS: usize = 2;
/// The variable that names the file of settings, by the plug-in's contract.
const SETTINGS: &str = "PD_SYSCTL_FILE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, path] = arguments.as_slice()
        && let Some(way) = Way::BOTH.into_iter().find(|way| way.flag() == flag)
    {
        return match one(Path::new(path), way) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => {
                eprintln!("{path}:{fault}");
                ExitCode::FAILURE
            }
        };
    }
    // Flags are those of the usual test programs, which mean nothing here.
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut found = Vec::new();
    find(Path::new(SCRIPTS), &mut found);
    found.sort();
    let mut scripts: Vec<Run> =
        found.into_iter().flat_map(|path| Way::BOTH.map(|way| (path.clone(), way))).collect();
    let all = scripts.len();
    scripts.retain(|run| wanted.is_empty() || wanted.iter().any(|part| name(run).contains(part.as_str())));
    println!("\nrunning {} scripts", scripts.len());
    let faults = run_all(&scripts);
    if !faults.is_empty() {
        println!("\nfailures:\n");
        faults.iter().for_each(|fault| println!("{fault}"));
    }
    let (failed, passed) = (faults.len(), scripts.len() - faults.len());
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let out = all - scripts.len();
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {out} filtered out\n"
    );
    if failed == 0 && all > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How the stack takes the segments of a script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As it comes: common ones by the fast path.
    Fast,
    /// All by the slow path, which is to say the same.
    Slow,
}

impl Way {
    const BOTH: [Way; 2] = [Way::Fast, Way::Slow];

    /// The flag that runs one script in this way.
    fn flag(self) -> &'static str {
        match self {
            Way::Fast => "--script",
            Way::Slow => "--slow",
        }
    }
}

/// A script's file, and how it is run.
type Run = (PathBuf, Way);

fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "pkt") {
            found.push(path);
        }
    }
}

/// A script's path below the folder of them all, and how it is run.
fn name((path, way): &Run) -> String {
    let script = path.strip_prefix(SCRIPTS).unwrap_or(path).with_extension("");
    let how = if *way == Way::Slow { " (slow path)" } else { "" };
    format!("{}{how}", script.display())
}

/// Run scripts in processes of their own. Returns what failed.
fn run_all(scripts: &[Run]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(Vec::new());
    let work = |worker: usize| {
        let settings =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("settings.{}.{worker}", std::process::id()));
        while let Some(run) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let fault = child(run, &settings).err();
            println!("test {} ... {}", name(run), if fault.is_none() { "ok" } else { "FAILED" });
            if let (Some(fault), Ok(mut faults)) = (fault, faults.lock()) {
                faults.push(fault);
            }
        }
        // There is none if no script ran.
        let _ = fs::remove_file(&settings);
    };
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || work(worker));
        }
    });
    let mut faults = faults.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    faults.sort();
    faults
}

/// Run one script in a process of its own.
fn child((path, way): &Run, settings: &Path) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .arg(way.flag())
        .arg(path)
        .env(SETTINGS, settings)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut said = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(said) = &mut said {
            // What is not text says nothing either.
            let _ = said.read_to_string(&mut text);
        }
        text
    });
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if begun.elapsed() > Duration::from_secs(SECONDS_MAX) => {
                child.kill().map_err(|error| error.to_string())?;
                child.wait().map_err(|error| error.to_string())?;
                return Err(format!("{}: not done after {SECONDS_MAX} s", path.display()));
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    let text = reader.join().unwrap_or_default();
    if status.success() { Ok(()) } else { Err(format!("{}{}", text.trim_end(), ended(status.code()))) }
}

/// What an exit status says that the script's own words do not.
fn ended(code: Option<i32>) -> String {
    match code {
        Some(1) => String::new(),
        Some(code) => format!(" (it ended with {code})"),
        None => " (it was ended by a signal)".to_owned(),
    }
}

/// Run one script here.
fn one(path: &Path, way: Way) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| format!(" {error}"))?;
    let script = parse::parse(&text)?;
    let settings = std::env::var_os(SETTINGS)
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("settings"), PathBuf::from);
    run::run(&script, &object()?, &settings, way == Way::Fast)
}

/// The plug-in, which cargo puts beside its tests.
fn object() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| format!(" {error}"))?;
    let beside = program.parent().ok_or(" this program is nowhere")?;
    let places = [beside.join("libpacketdrill.so"), beside.join("../libpacketdrill.so")];
    places.into_iter().find(|path| path.exists()).ok_or_else(|| " there is no libpacketdrill.so".to_owned())
}
