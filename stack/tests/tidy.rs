//! What the compiler does not check about this repository: directions, the home of `unsafe`, clocks, sizes.
//! Reads source text alone, in a rough way that suits how it is formatted; what code does is tested elsewhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates from the bottom up: each may use those before it and none after.
const CRATES: &[(&str, &str)] = &[
    ("dpdk-sys", "dpdk-sys"),
    ("rte-ring", "drivers/rte-ring"),
    ("drivers", "drivers"),
    ("stack", "stack"),
    ("packetdrill", "stack/packetdrill"),
    ("corelane", "."),
    ("apps", "apps"),
    ("benches", "benches"),
    ("fuzz", "fuzz"),
];

/// Layers of `stack/src` from the bottom up. A module may use those below its layer, and those beside it where
/// the layer says so.
const LAYERS: &[Layer] = &[
    Layer { modules: &["wire"], beside: false },
    // Words that any layer may use; `mode` itself holds only those in which batches cross.
    Layer { modules: &["config", "counters", "mode", "places", "socket", "time"], beside: true },
    Layer { modules: &["ip", "udp", "tcp"], beside: false },
    Layer { modules: &["buffer", "engine", "flow", "timer"], beside: true },
    Layer { modules: &["lane", "links", "lull", "run"], beside: true },
    Layer { modules: &["poll"], beside: false },
    Layer { modules: &["mode::paired_thread", "mode::run_to_completion", "mode::service"], beside: false },
    Layer { modules: &["sim"], beside: false },
];

struct Layer {
    modules: &'static [&'static str],
    beside: bool,
}

/// Uses against the direction that stand for now, as (file in `stack/src`, module), with their reason. One that
/// is no longer needed must go.
const LAYER_EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Crates that may hold `unsafe`.
const UNSAFE_HOMES: &[&str] = &["dpdk-sys/", "drivers/"];

/// Small boundaries beyond those crates, as (file, what it holds).
const UNSAFE_BOUNDARIES: &[(&str, &str)] = &[
    ("apps/tests/support/allocator.rs", "a counting allocator"),
    ("stack/packetdrill/src/lib.rs", "the plug-in's one entry"),
    ("stack/packetdrill/src/boundary.rs", "C's pointers and errno"),
    ("stack/packetdrill/src/calls.rs", "the plug-in's functions on descriptors"),
    ("stack/packetdrill/src/calls/messages.rs", "its functions on messages and vectors"),
    (
        "stack/packetdrill/src/calls/waiting.rs",
        "its functions that wait for several descriptors, and its clock",
    ),
    ("stack/packetdrill/src/interface.rs", "C's table of functions"),
    ("stack/packetdrill/src/interpose.rs", "two functions of libc"),
    ("stack/packetdrill/src/waiting.rs", "the promise that a host's parts move together"),
    ("stack/packetdrill/tests/scripts/interface.rs", "the table of functions as scripts call it"),
    ("stack/packetdrill/tests/host/mod.rs", "a host that loads the plug-in"),
];

/// The one file that may give up its processor, for a lane that has nothing to do.
const MAY_SLEEP: &str = "stack/src/run.rs";

/// What would make a run of the engine differ from the next: clocks, threads, randomness, the world outside.
const NOT_IN_STACK: &[&str] = &[
    "Instant::now",
    "SystemTime",
    "UNIX_EPOCH",
    "std::time::Instant",
    "thread",
    "rand",
    "getrandom",
    "RandomState",
    "DefaultHasher",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::env",
    "std::fs",
    "std::process",
    "TcpStream",
    "UdpSocket",
    "static mut",
    "thread_local",
];

/// Longest a file may be before its tests.
const FILE_LINES_MAX: usize = 600;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository").to_path_buf()
}

/// Paths of the files below a folder of the repository that end so, sorted and relative to the repository.
fn files(folder: &str, ending: &str) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in
            fs::read_dir(folder).expect("a readable folder").map(|entry| entry.expect("an entry").path())
        {
            let name = entry.file_name().expect("a name").to_string_lossy().into_owned();
            if entry.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&entry, found);
            } else if entry.is_file() {
                found.push(entry);
            }
        }
    }
    let mut found = Vec::new();
    walk(&repository().join(folder), &mut found);
    let root = repository();
    let relative =
        |path: PathBuf| path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
    let mut found: Vec<String> =
        found.into_iter().map(relative).filter(|path| path.ends_with(ending)).collect();
    found.sort();
    assert!(!found.is_empty(), "no file {folder}/**{ending}: the test looks in the wrong place");
    found
}

fn text(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The module at the head of a path within the crate; the modes are modules of their own.
fn module_of(path: &str) -> String {
    let end = path.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(path.len());
    let mut parts = path[..end].split("::");
    let first = parts.next().unwrap_or_default();
    let mode = parts
        .next()
        .filter(|part| LAYERS.iter().any(|l| l.modules.contains(&format!("mode::{part}").as_str())));
    if first == "mode"
        && let Some(mode) = mode
    {
        return format!("mode::{mode}");
    }
    first.to_owned()
}

/// Lines of code with their numbers, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.split("//").next().unwrap_or_default();
        (!line.trim().is_empty()).then_some((index + 1, line))
    })
}

/// Whether the word stands in the line, not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let inside = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = line.as_bytes();
    line.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !inside(before) && !inside(bytes.get(at + word.len()))
    })
}

/// Number of lines before the tests of a file.
fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .windows(2)
        .position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod "))
        .unwrap_or(lines.len())
}

/// Whether the file is a test, or tests beside the code.
fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/")
}

#[track_caller]
fn assert_none(wrong: &[String], rule: &str) {
    let mut list = String::new();
    for line in wrong {
        let _ = write!(list, "\n  {line}");
    }
    assert!(wrong.is_empty(), "{rule}:{list}");
}

#[test]
fn crates_depend_downwards() {
    // Shows, from each Cargo.toml, that no crate depends on one above it, and that `stack` does without DPDK.
    let mut wrong = Vec::new();
    for (rank, (name, folder)) in CRATES.iter().enumerate() {
        let manifest = format!("{folder}/Cargo.toml");
        let manifest = text(manifest.trim_start_matches("./"));
        let mut section = "";
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            }
            // The workspace's table names all crates; only what a package takes of it is a dependency.
            let is_dependency = section.ends_with("dependencies]") && section != "[workspace.dependencies]";
            let key = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let used = CRATES.iter().position(|(other, _)| *other == key);
            if is_dependency && used.is_some_and(|used| used >= rank) {
                wrong.push(format!("{name} depends on {key}"));
            }
            if is_dependency && *name == "stack" && line.contains("\"dpdk\"") {
                wrong.push(format!("stack asks for DPDK: {line}"));
            }
        }
    }
    assert_none(&wrong, "apps, benches → corelane → stack → drivers → dpdk-sys");
}

#[test]
fn modules_of_the_stack_use_what_is_below_them() {
    // Shows that each `crate::` path in `stack/src` points downwards, or is a listed exception that is needed.
    let layer_of = |module: &str| LAYERS.iter().position(|layer| layer.modules.contains(&module));
    let mut wrong = Vec::new();
    let mut used_exceptions = BTreeSet::new();
    for path in files("stack/src", ".rs").iter().filter(|path| !is_test(path)) {
        let inner = path.trim_start_matches("stack/src/");
        let module = module_of(&inner.trim_end_matches(".rs").replace('/', "::"));
        if module == "lib" {
            continue;
        }
        let Some(layer) = layer_of(&module) else {
            wrong.push(format!("{path}: the module {module} has no layer yet; give it one in this test"));
            continue;
        };
        let text = text(path);
        let end = lines_before_tests(&text);
        for (line, code) in code(&text).take_while(|(line, _)| *line <= end) {
            for used in code.split("crate::").skip(1) {
                let used = module_of(used);
                let Some(below) = layer_of(&used) else { continue };
                let is_fine = used == module || below < layer || (below == layer && LAYERS[layer].beside);
                if is_fine {
                    continue;
                }
                match LAYER_EXCEPTIONS.iter().position(|(file, module, _)| *file == inner && *module == used)
                {
                    Some(exception) => _ = used_exceptions.insert(exception),
                    None => wrong.push(format!("{path}:{line}: {module} uses {used}")),
                }
            }
        }
    }
    for (index, (file, module, _)) in LAYER_EXCEPTIONS.iter().enumerate() {
        if !used_exceptions.contains(&index) {
            wrong.push(format!("the exception for {file} and {module} is not needed any more"));
        }
    }
    assert_none(&wrong, "wire ← ip, udp, tcp ← engine ← run ← modes");
}

#[test]
fn tcp_knows_no_frames() {
    // Shows that nothing below `stack/src/tcp` names the type of a frame.
    let mut wrong = Vec::new();
    for path in files("stack/src/tcp", ".rs") {
        for (line, code) in code(&text(&path)) {
            if has_word(code, "Frame") {
                wrong.push(format!("{path}:{line}: {}", code.trim()));
            }
        }
    }
    assert_none(&wrong, "only the engine touches a frame");
}

#[test]
fn the_stack_reads_no_clock() {
    // Shows that nothing in `stack/src` reaches the world outside. Tests may have threads, and nothing else.
    let mut wrong = Vec::new();
    for path in files("stack/src", ".rs") {
        let text = text(&path);
        let tests_begin = if is_test(&path) { 0 } else { lines_before_tests(&text) };
        for (line, code) in code(&text) {
            let may_sleep = line > tests_begin || path == MAY_SLEEP;
            let is_forbidden =
                |word: &&str| has_word(code, word) && !(may_sleep && word.starts_with("thread"));
            let grouped = code.contains("std::time::{") && has_word(code, "Instant");
            if grouped || NOT_IN_STACK.iter().any(is_forbidden) {
                wrong.push(format!("{path}:{line}: {}", code.trim()));
            }
        }
    }
    assert_none(&wrong, "the engine is sans-IO: the same seed gives the same trace");
}

#[test]
fn unsafe_stays_at_home() {
    // Shows that the word `unsafe` stands in the crates for it alone, and that the others forbid it at their roots.
    let mut wrong = Vec::new();
    for path in files("", ".rs") {
        if UNSAFE_HOMES.iter().any(|home| path.starts_with(home)) || path == "stack/tests/tidy.rs" {
            continue;
        }
        let text = text(&path);
        let is_boundary = UNSAFE_BOUNDARIES.iter().any(|(file, _)| *file == path);
        let holds_unsafe = code(&text).any(|(_, code)| has_word(code, "unsafe"));
        if holds_unsafe && !is_boundary {
            wrong.push(format!("{path} holds unsafe code"));
        }
        if is_boundary && !holds_unsafe {
            wrong.push(format!("{path} is listed as a boundary and holds no unsafe code"));
        }
        let is_root =
            path.ends_with("src/lib.rs") || path.ends_with("src/main.rs") || path.contains("src/bin/");
        if is_root && !is_boundary && !text.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{path} does not say #![forbid(unsafe_code)]"));
        }
    }
    assert_none(&wrong, "unsafe lives in dpdk-sys and drivers");
}

#[test]
fn files_are_short() {
    // Shows that no file is longer than the bound before its tests. Generated bindings are nobody's to read.
    let mut wrong = Vec::new();
    for path in files("", ".rs") {
        let lines = lines_before_tests(&text(&path));
        if lines > FILE_LINES_MAX && !path.contains("bindings") && !is_test(&path) {
            wrong.push(format!("{path}: {lines} lines"));
        }
    }
    assert_none(&wrong, "a file is one duty, in at most 600 lines before its tests");
}

#[test]
fn files_say_their_duty() {
    // Shows that each source file begins with a line that says what it is for.
    let mut wrong = Vec::new();
    for path in files("", ".rs") {
        let is_checked = !path.contains("bindings") && !is_test(&path);
        if is_checked && !text(&path).starts_with("//! ") {
            wrong.push(path);
        }
    }
    assert_none(&wrong, "the first line of a file says its duty");
}

#[test]
fn nothing_is_left_open() {
    // Shows that no marker of unfinished work is in the tree. The words are put together, so as not to find these.
    let markers =
        [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["to", "do!("], ["unimple", "mented!("], ["#[ig", "nore"]];
    let markers = markers.map(|halves| halves.concat());
    let mut wrong = Vec::new();
    for path in [".rs", ".py", ".sh", ".md", ".toml"].iter().flat_map(|ending| files("", ending)) {
        for (index, line) in text(&path).lines().enumerate() {
            if markers.iter().any(|marker| line.contains(marker.as_str())) {
                wrong.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    assert_none(&wrong, "what is not done is not begun");
}

#[test]
fn every_drop_reason_is_given() {
    // Shows that each reason to drop a frame is given somewhere outside its own file and the tests.
    let reasons = stack::wire::DropReason::ALL;
    let own = "stack/src/wire/drop_reason.rs";
    let mut given = String::new();
    for path in files("stack/src", ".rs").iter().filter(|path| *path != own && !is_test(path)) {
        let text = text(path);
        let end = lines_before_tests(&text);
        for (_, code) in code(&text).take_while(|(line, _)| *line <= end) {
            given.push_str(code);
            given.push('\n');
        }
    }
    let missing: Vec<String> = reasons
        .iter()
        .map(|reason| format!("{reason:?}"))
        .filter(|name| !has_word(&given, name))
        .map(|name| format!("DropReason::{name}"))
        .collect();
    assert_none(&missing, "a counter that nothing counts misleads");
}
