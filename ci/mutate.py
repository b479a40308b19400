#!/usr/bin/env python3
"""Changes the code in small ways and sees whether the tests notice: mutation testing of TCP and IP.

Usage: mutate.py [--count N] [--seed N] [--only NUMBER] [--folder DIR] [--json FILE]
A mutation alters one place in the body of a function below stack/src/tcp or stack/src/ip: a comparison, a sign, a
condition, a constant, a statement that goes, two arms that change places. Which places are drawn follows from the seed
and from the text around each, so that changes elsewhere do not change the draw. What does not compile is drawn again.

All mutations are compiled into one copy of the sources: each function drawn from holds its body once for each mutation
and once as it was, and the environment says which one counts. So a mutation costs no build, only the tests up to the
first that fails. A program that never came into the function when it ran without a mutation cannot notice one in it, and is
not run. A test that needs far more processor time than it did without a mutation has noticed too: virtual time that
stands still hangs.
Mutations that no test could notice stand in mutants.toml beside this file, each with the reason; they are drawn again.
"""

import argparse
import ctypes
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = ("stack/src/tcp", "stack/src/ip")
EQUIVALENT = Path(__file__).resolve().parent / "mutants.toml"
VARIABLE = "CORELANE_MUTANT"
# Names a file that is to hold the numbers of the mutations whose functions are called.
REACHED = "CORELANE_MUTANTS_REACHED"
AT_ONCE = 2
SHARE_MIN = 0.9
# Drawn beyond what is asked for, for those that do not compile.
SPARE = 1.6
# Tests that look at the sources' text or at the tests themselves.
NOT_RUN = ("tidy", "runner")
# Those that notice most in the least time come first; the others follow by how long they take.
ORDER = ("stack", "segments", "scripts")
MEMORY_MAX = 6 << 30
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None)

SWITCH = f"""
/// Whether this is the mutation that the environment names.
pub(crate) fn mutant(number: u32) -> bool {{
    static CHOSEN: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {{
        std::env::var("{VARIABLE}").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }});
    if *CHOSEN == 0 {{
        note_reached(number);
    }}
    *CHOSEN == number
}}

/// Put the number of a function that is called for the first time into the file that the environment names.
fn note_reached(number: u32) {{
    use std::sync::atomic::{{AtomicBool, Ordering}};
    static FILE: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| std::env::var("{REACHED}").ok());
    static SEEN: [AtomicBool; 1 << 16] = [const {{ AtomicBool::new(false) }}; 1 << 16];
    if let (Some(file), Some(seen)) = (&*FILE, SEEN.get(number as usize))
        && !seen.swap(true, Ordering::Relaxed)
    {{
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        let line = format!("{{number}}\n");
        let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
    }}
}}
"""

# What is swapped for what, as a pattern with the part to change as group 1.
SWAPS = [
    ("comparison", r" (<=|>=|==|!=|<|>) ", {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}),
    ("comparison", r"\.(lt|le|gt|ge)\(", {"lt": "le", "le": "lt", "gt": "ge", "ge": "gt"}),
    ("arithmetic", r" (\+|-|\*|/|\+=|-=|<<|>>) ", {"+": "-", "-": "+", "*": "/", "/": "*", "+=": "-=", "-=": "+=",
                                                   "<<": ">>", ">>": "<<"}),
    ("arithmetic", r"\.(?:wrapping|saturating|checked)_(add|sub)\(", {"add": "sub", "sub": "add"}),
    ("arithmetic", r"\.(min|max)\(", {"min": "max", "max": "min"}),
    ("boolean", r" (&&|\|\|) ", {"&&": "||", "||": "&&"}),
    ("boolean", r"(?<![\w!])(!)(?=[\w(])", {"!": ""}),
    ("boolean", r"\b(true|false)\b", {"true": "false", "false": "true"}),
    ("boolean", r"\b(is_some|is_none|is_ok|is_err)\(\)", {"is_some": "is_none", "is_none": "is_some", "is_ok": "is_err",
                                                      "is_err": "is_ok"}),
    ("range", r"(?<=[\w)])(\.\.=?)(?=[\w(])", {"..": "..=", "..=": ".."}),
]
CONDITION = re.compile(r"\b(?:if|while) (?!let\b)((?:(?! =>).)+?) \{$")
NUMBER = re.compile(r"(?<![\w#])(?<!(?<!\.)\.)(0x[0-9a-f_]+|[0-9][0-9_]*)(?=(?:[ui](?:8|16|32|64|128|size))?\b)(?!\.[0-9])")
STATEMENT = re.compile(r"\s*(?!let |return|use |const |static |fn |break|continue|debug_assert|assert)[a-z_*][^=]*?.*;$")
ARM = re.compile(r"^(\s*)([^=]+) => (.+),$")
# Lines that decide nothing on the wire: counters, texts, checks of our own.
IGNORED = re.compile(r"counters|\bcount\(|debug_assert|\bassert|unreachable|\.expect\(|format|write!|#\[|#!\[")
FUNCTION = re.compile(r"^ *(?:pub(?:\([a-z]+\))? )?(?:const )?fn (\w+)", re.MULTILINE)


@dataclass
class Mutation:
    """One change of one place."""

    path: str
    function: str
    operator: str
    line: int
    begin: int
    end: int
    text: str
    before: str
    body: tuple
    constant: bool
    rank: str = ""
    number: int = 0
    after: str = ""
    copy: tuple = field(default=(0, 0))

    @property
    def key(self):
        """What names it while lines move."""
        return f"{self.path} {self.function}: {self.before} → {self.after}"


def masked(source):
    """The source with what is in comments, strings and characters made blank, and every other place as it was."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\[^\n]+?|[^\\\'\n])\'', re.DOTALL
    )
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)


def shipped(code):
    """The code with the statements, blocks and fields that are the tests' alone made blank."""
    for found in re.finditer(r"#\[cfg\(test\)\]\s*", code):
        first, last = found.start(), code.find("\n", found.end())
        if code.startswith("{", found.end()):
            last = closing(code, found.end())
        elif code[:last].endswith("{"):
            continue
        code = code[:first] + re.sub(r"[^\n]", " ", code[first:last]) + code[last:]
    return code


def closing(text, at):
    """The place behind the brace that closes the one at `at`."""
    depth = 0
    for place in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    return len(text)


def functions(code):
    """Name, begin and end of the body of each function that is no test's and in no other."""
    tests = [
        (found.start(), closing(code, code.index("{", found.end())))
        for found in re.finditer(r"#\[cfg\(test\)\]\s*(?:mod \w+|impl\b[^{;]*|fn [^{;]*)(?= \{)", code)
    ]
    last = 0
    for found in FUNCTION.finditer(code):
        opening = re.compile(r"[{;]").search(re.sub(r"\[[^\]\n]*\]", lambda kept: " " * len(kept[0]), code), found.end())
        if found.start() < last or opening is None or opening[0] == ";" or found[1] == "fmt":
            continue
        if any(begin <= found.start() < end for begin, end in tests):
            continue
        last = closing(code, opening.start())
        yield found[1], opening.start(), last


def changes(code, source, begin, end):
    """Each change of a line's text between two places: operator, begin, end, new text."""
    at = begin
    previous = None
    for line in code[begin:end].splitlines(keepends=True):
        bare = line.rstrip("\n")
        if not IGNORED.search(source[at : at + len(bare)]):
            for operator, pattern, table in SWAPS:
                for found in re.finditer(pattern, bare):
                    yield operator, at + found.start(1), at + found.end(1), table[found[1]]
            if found := CONDITION.search(bare):
                first, last = at + found.start(1), at + found.end(1)
                yield "condition", first, last, f"!({source[first:last]})"
            for found in NUMBER.finditer(bare):
                value = int(found[1].replace("_", ""), 0)
                for other in {value + 1, value - 1} - {-1}:
                    yield "constant", at + found.start(1), at + found.end(1), str(other)
            if STATEMENT.fullmatch(bare) and bare.count("(") == bare.count(")"):
                indent = len(bare) - len(bare.lstrip())
                yield "statement", at + indent, at + len(bare), ""
            arm = ARM.fullmatch(bare)
            if arm and previous and previous[1][1] == arm[1]:
                one, first = previous
                right = source[one + first.start(3) : one + first.end(3)]
                left = source[at + arm.start(3) : at + arm.end(3)]
                between = source[one + first.end(3) : at + arm.start(3)]
                yield "arms", one + first.start(3), at + arm.end(3), left + between + right
            previous = (at, arm) if arm else None
        at += len(line)


def sites(root, seed):
    """All mutations there are, in the order in which they are drawn."""
    found, seen = [], {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.rs")):
            if path.name == "tests.rs" or "tests" in path.relative_to(root).parts:
                continue
            source = path.read_text(encoding="utf-8")
            code = shipped(masked(source))
            name = str(path.relative_to(root))
            for function, begin, end in functions(code):
                head = code[code.rfind("\n", 0, code.rfind("fn ", 0, begin)) : begin]
                for operator, first, last, text in changes(code, source, begin + 1, end - 1):
                    line_begin = source.rfind("\n", 0, first) + 1
                    line_end = source.find("\n", last)
                    before = " ".join(source[line_begin:line_end].split())
                    after = " ".join((source[line_begin:first] + text + source[last:line_end]).split())
                    line = source.count("\n", 0, first) + 1
                    constant = bool(re.search(r"\bconst fn\b", head))
                    mutation = Mutation(name, function, operator, line, first, last, text, before, (begin, end), constant)
                    mutation.after = after
                    # The same text may stand in one function twice.
                    seen[mutation.key] = seen.get(mutation.key, 0) + 1
                    rank = f"{seed} {seen[mutation.key]} {mutation.key}"
                    mutation.rank = hashlib.sha256(rank.encode()).hexdigest()
                    found.append(mutation)
    return sorted(found, key=lambda mutation: mutation.rank)


def write(root, original, mutations):
    """Put mutations into the copy at `root`, from the sources at `original`."""
    for path in {mutation.path for mutation in mutations}:
        source = (original / path).read_text(encoding="utf-8")
        of = sorted((mutation for mutation in mutations if mutation.path == path), key=lambda mutation: mutation.body)
        out, at = "", 0
        for body in sorted({mutation.body for mutation in of}):
            begin, end = body
            out += source[at:begin] + "{ "
            for mutation in (mutation for mutation in of if mutation.body == body):
                out += f"if crate::mutant({mutation.number}) "
                first = out.count("\n") + 1
                out += source[begin : mutation.begin] + mutation.text + source[mutation.end : end] + " else "
                mutation.copy = (first, out.count("\n") + 1)
            out += source[begin:end] + " }"
            at = end
        out += source[at:]
        # What reads the environment is not for constants.
        if any(mutation.constant for mutation in of):
            out = re.sub(r"\bconst fn\b", "fn", out)
        target = root / path
        if target.read_text(encoding="utf-8") != out:
            target.write_text(out, encoding="utf-8")


def copy_sources(root):
    """A copy of what Git knows of, as it lies in the working folder."""
    files = subprocess.run(
        ["git", "-C", REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True, capture_output=True, text=True,
    ).stdout.split("\0")
    wanted = {name for name in files if name and (REPOSITORY / name).is_file()}
    for path in [path for path in root.rglob("*") if path.is_file()]:
        if str(path.relative_to(root)) not in wanted:
            path.unlink()
    for name in wanted:
        source, target = REPOSITORY / name, root / name
        text = source.read_bytes()
        if name == "stack/src/lib.rs":
            text += SWITCH.encode()
        # What is unchanged keeps its time, so that cargo builds no more than it must.
        if not target.is_file() or target.read_bytes() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
            target.chmod(source.stat().st_mode)


def cargo(root, target, *arguments):
    """Run cargo in the copy. Returns its status and its messages."""
    environment = os.environ | {"CARGO_TARGET_DIR": str(target), "CARGO_INCREMENTAL": "1"}
    command = [os.environ.get("CARGO", "cargo"), *arguments, "--message-format=json"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    messages = []
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            messages.append(json.loads(line))
    return done.returncode, messages, done.stderr


def errors(messages):
    """File and lines of each place that the compiler points to in its errors."""
    for message in messages:
        said = message.get("message") if message.get("reason") == "compiler-message" else None
        if said and said["level"] == "error":
            yield [(span["file_name"], span["line_start"], span["line_end"]) for span in said["spans"]], said["message"]


def compilable(root, target, drawn):
    """Those of the mutations drawn that compile, all of them in the copy."""
    while True:
        write(root, REPOSITORY, drawn)
        status, messages, said = cargo(root, target, "check", "--locked", "-p", "stack", "--lib")
        if status == 0:
            return drawn
        bad = set()
        for spans, _ in errors(messages):
            for path, first, last in spans:
                of = [mutation for mutation in drawn if mutation.path == path]
                inside = [m.number for m in of if m.copy[0] <= first and last <= m.copy[1]]
                bad.update(inside)
        if not bad:
            # A clash between bodies, or a constant elsewhere that needs one of the functions.
            places = {path for spans, _ in errors(messages) for path, _, _ in spans}
            bad = {m.number for m in drawn if m.path in places} or {m.number for m in drawn if m.constant}
        if not bad:
            sys.exit(f"mutate: the copy does not compile, and no mutation is to blame:\n{said[-4000:]}")
        kept = [mutation for mutation in drawn if mutation.number not in bad]
        for path in {mutation.path for mutation in drawn} - {mutation.path for mutation in kept}:
            (root / path).write_bytes((REPOSITORY / path).read_bytes())
        drawn = kept


def programs(root, target):
    """The tests' programs by name, each with the folder it runs in."""
    status, messages, said = cargo(root, target, "test", "--locked", "-p", "stack", "-p", "packetdrill", "--no-run")
    if status:
        sys.exit(f"mutate: the copy does not build:\n{said[-4000:]}")
    found = {}
    for message in messages:
        if message.get("executable") and message["target"]["name"] not in NOT_RUN:
            found[message["target"]["name"]] = (message["executable"], Path(message["manifest_path"]).parent)
    if not found:
        sys.exit("mutate: cargo names no test program")
    return found


def run_one(program, folder, number, cpu_max, wall_max, threads, reached=None):
    """Run a test program up to its first failure. Returns what noticed, or None, and how long it took."""

    def limit():
        # It goes when this one does, however that goes.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_max, cpu_max + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    environment = os.environ | {
        VARIABLE: str(number),
        "RUST_TEST_THREADS": str(threads),
        "RUST_BACKTRACE": "0",
        "PROPTEST_RNG_SEED": "1",
        "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "true",
        "CARGO_MANIFEST_DIR": str(folder),
    }
    if reached:
        environment[REACHED] = str(reached)
    began = time.monotonic()
    child = subprocess.Popen(
        [program], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        start_new_session=True, preexec_fn=limit,
    )
    timer = threading.Timer(wall_max, lambda: os.killpg(child.pid, signal.SIGKILL))
    timer.start()
    noticed, last = None, ""
    try:
        for raw in child.stdout:
            line = raw.decode(errors="replace").rstrip()
            last = line or last
            if found := re.fullmatch(r"test (.*) \.\.\. FAILED", line):
                noticed = found[1]
                break
    finally:
        timer.cancel()
        if noticed and child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.stdout.close()
        status = child.wait()
    took = time.monotonic() - began
    if noticed is None and status:
        how = "too long" if status in (-signal.SIGXCPU, -signal.SIGKILL) else f"ended with {status}"
        noticed = f"({how}) {last[-120:]}"
    return noticed, took


class Bench:
    """The tests' programs, how long each needs, and which mutations' functions it calls."""

    def __init__(self, found, folder):
        self.programs = found
        self.folder = folder
        self.seconds = {}
        self.reached = {}

    def measure(self):
        """Run all without a mutation: they must pass."""
        for name, (program, folder) in self.programs.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            reached = self.folder / f"{name}.reached"
            reached.write_text("", encoding="utf-8")
            noticed, _ = run_one(program, folder, 0, 3600, 3600, AT_ONCE, reached)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if noticed:
                sys.exit(f"mutate: {name} fails without a mutation: {noticed}")
            self.seconds[name] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            self.reached[name] = set(map(int, reached.read_text(encoding="utf-8").split()))
            print(f"{name:<20} {self.seconds[name]:6.1f} s of a core without a mutation,"
                  f" {len(self.reached[name])} mutations reached", flush=True)
        rank = {name: place for place, name in enumerate(ORDER)}
        order = sorted(self.programs, key=lambda name: (rank.get(name, len(rank)), self.seconds[name]))
        self.programs = {name: self.programs[name] for name in order}

    def judge(self, mutation):
        """What notices a mutation, or None, and how long that took."""
        began = time.monotonic()
        for name, (program, folder) in self.programs.items():
            if mutation.number not in self.reached[name]:
                continue
            limit = int(self.seconds[name] * 3) + 10
            noticed, _ = run_one(program, folder, mutation.number, limit, limit * 10, 1)
            if noticed:
                return f"{name}: {noticed}", time.monotonic() - began
        return None, time.monotonic() - began


def equivalents():
    """The keys of mutations that change nothing, with the reason of each."""
    if not EQUIVALENT.is_file():
        return {}
    with EQUIVALENT.open("rb") as file:
        return {entry["mutation"]: entry["because"] for entry in tomllib.load(file).get("equivalent", [])}


def draw(arguments, root, target):
    """The mutations to judge, compiled into the copy; those known to change nothing; how many did not compile."""
    listed = equivalents()
    ranked = sites(REPOSITORY, arguments.seed)
    for number, mutation in enumerate(ranked, 1):
        mutation.number = number
    print(f"{len(ranked)} places to mutate; draws {arguments.count} with seed {arguments.seed}", flush=True)
    if arguments.only:
        return compilable(root, target, [m for m in ranked if m.number in arguments.only]), [], 0
    taken = int(arguments.count * SPARE) + 10
    candidates = [mutation for mutation in ranked[:taken] if mutation.key not in listed]
    equal = [mutation for mutation in ranked[:taken] if mutation.key in listed]
    kept = compilable(root, target, list(candidates))
    uncompilable = len(candidates) - len(kept)
    kept = kept[: arguments.count]
    last = kept[-1].number if kept else 0
    return kept, [m for m in equal if m.number < last], uncompilable


def main():
    """Draws, builds, judges, reports; ends with 1 if too few were noticed."""
    parser = argparse.ArgumentParser(description="Mutation testing of TCP and IP.")
    parser.add_argument("--count", type=int, default=100, help="how many mutations (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default: 1)")
    parser.add_argument("--only", type=int, action="append", metavar="NUMBER", help="only that one; may be given again")
    parser.add_argument("--folder", type=Path, help="where the copy and its build go (default: mutate in cargo's folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as JSON too")
    arguments = parser.parse_args()
    began = time.monotonic()
    base = arguments.folder or Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "mutate"
    root, target = base / "sources", base / "target"
    root.mkdir(parents=True, exist_ok=True)
    copy_sources(root)
    drawn, equal, uncompilable = draw(arguments, root, target)
    bench = Bench(programs(root, target), base)
    print(f"built after {time.monotonic() - began:.0f} s: {len(drawn)} mutations in one build", flush=True)
    bench.measure()
    results = []
    lock = threading.Lock()

    def judge(mutation):
        noticed, took = bench.judge(mutation)
        with lock:
            results.append((mutation, noticed, took))
            word = "caught  " if noticed else "SURVIVED"
            print(f"[{len(results):3}/{len(drawn)}] {word} {took:6.1f} s  #{mutation.number} {mutation.operator}"
                  f" {mutation.path}:{mutation.line} {mutation.function}", flush=True)
            print(f"      {mutation.before}\n    → {mutation.after or '(nothing)'}", flush=True)
            if noticed:
                print(f"      by {noticed}", flush=True)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(judge, mutation) for mutation in drawn]:
            done.result()
    return report(arguments, results, equal, uncompilable, time.monotonic() - began)


def report(arguments, results, equal, uncompilable, seconds):
    """Print what came of it, and write it as JSON."""
    results.sort(key=lambda result: result[0].number)
    survived = [mutation for mutation, noticed, _ in results if not noticed]
    caught = len(results) - len(survived)
    share = caught / len(results) if results else 0.0
    print("\nsurvived:" if survived else "\nnone survived")
    for mutation in survived:
        print(f"  #{mutation.number} {mutation.operator} {mutation.path}:{mutation.line}\n    {mutation.key}")
    if arguments.json:
        arguments.json.write_text(json.dumps({
            "seed": arguments.seed, "drawn": len(results), "caught": caught, "share": share, "seconds": round(seconds),
            "uncompilable": uncompilable, "equivalent": [mutation.key for mutation in equal],
            "mutations": [
                {"number": m.number, "operator": m.operator, "path": m.path, "line": m.line, "function": m.function,
                 "before": m.before, "after": m.after, "caught_by": noticed, "seconds": round(took, 1)}
                for m, noticed, took in results
            ],
        }, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{uncompilable} did not compile and {len(equal)} are known to change nothing: others were drawn")
    print(f"mutations: {caught} of {len(results)} caught, {share:.0%}, in {seconds / 60:.0f} min")
    return 0 if share >= SHARE_MIN else 1


if __name__ == "__main__":
    sys.exit(main())
