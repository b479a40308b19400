"""One lane by itself: cycles of each case, from the engine's own bench, without kernel, link or client."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import harness
from ends import Trouble, reaped
from machine import SERVER_CORE, Watch
from results import Case, Sample

BENCH = "engine"
TITLE = "One lane by itself: cycles of each case"
ABOUT = (
    "The 10th percentile of many short windows, by the processor's time stamp counter; bursts of 32 unless others are named, checksums by the port, "
    "flows hit at random. Application and batched interface are included. The floor is what no engine can do less of for a "
    "request: parse, hash, look up, change one line, write a header."
)
VARIANT = "corelane"
ROUNDS = 3
# Instructions, by case.
INSTRUCTIONS = {"rr_64": 650, "connect_close": 3500}
# Bytes of a connection, by what it is at.
BYTES = {"established": 256, "TIME_WAIT": 32}
SMALL = "floor,rr_64,rx_data,ack_only,connect_close,ooo_one_hole,rto_fire,bulk_rx"
# Cases, flows, bursts.
SETS_QUICK = ((SMALL, "1000", "32"), ("bulk_tx", "4", "32"))
SETS_FULL = (
    *SETS_QUICK, ("floor,rr_64,rx_data", "64000,1000000", "32"), ("rr_64,rx_data,ack_only", "1", "1"), ("rr_64,rx_data,ack_only", "1000", "1,8"),
    ("rx_data,ack_only", "1000", "64"),
)
# The same, of which one round is enough. Bulk is sent on few flows only: each holds what it has in flight. Timers run out and
# windows are filled by no more than 32 at a time, and with one connection under way not every turn does all of its steps. Of
# 64 frames a turn takes 32 or all: what a request or a connection began in one round may end in the next.
SETS_ONCE = (
    ("ack_only,connect_close,ooo_one_hole,rto_fire,bulk_rx", "64000,1000000", "32"),
    ("rr_64,rx_data,ack_only", "64000,1000000", "8"),
    ("rx_data,ack_only", "64000,1000000", "64"),
    ("ooo_one_hole,rto_fire,bulk_rx,bulk_tx", "1", "1"),
    ("ooo_one_hole,rto_fire,bulk_rx", "1000", "1,8"),
    ("connect_close,ooo_one_hole", "1000", "8"),
    ("ooo_one_hole", "1000", "64"),
    ("bulk_tx", "256", "32"),
)
# Cycles of the floor, by flows, where nothing disturbed it: guided, on an EPYC whose time stamp counter has 2.6 GHz.
FLOOR = {1000: 52, 64_000: 54, 1_000_000: 63}
# Cycles, by case and flows.
TARGETS = {
    ("rr_64", 1000): 150, ("rr_64", 64_000): 220, ("rr_64", 1_000_000): 350,
    ("connect_close", 1000): 1200, ("bulk_rx", 1000): 120,
}


def engine(folder, *words):
    """Runs the bench; returns the lines it writes, and the watch."""
    file = folder / "engine.jsonl"
    command = ["taskset", "-c", SERVER_CORE, harness.programs / "engine", "--json", file, *words]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               preexec_fn=harness.die_with_parent)
    watch = Watch({"lane": process.pid})
    if not watch.until_ended(process, 300) or process.returncode != 0:
        reaped(process)
        words = re.search(r"panicked.*\n.*", process.stderr.read())
        raise Trouble(f"the engine's bench ended with {process.returncode}: {words.group().strip() if words else 'in silence'}")
    return [json.loads(line) for line in file.read_text().splitlines()], watch


def plan(run):
    """Every case in each round."""
    for number in range(ROUNDS):
        for cases, flows, bursts in SETS_QUICK if run.quick else SETS_FULL:
            run.say(f"{BENCH}: round {number + 1} of {ROUNDS}, {flows} flows, bursts of {bursts}")
            one(run, number, cases, flows, bursts)
    for cases, flows, bursts in () if run.quick else SETS_ONCE:
        run.say(f"{BENCH}: once, {flows} flows, bursts of {bursts}")
        one(run, 0, cases, flows, bursts)
    count(run)
    if not run.quick:
        weigh(run)
    slow = slowness(run.results)
    for case in run.results.cases(BENCH):
        target = TARGETS.get((case.name.split(",")[0], case.flows)) if case.burst == 32 else None
        if target:
            run.results.limit(case, "cycles", VARIANT, target, slow.get(case.flows, 1))


def slowness(results):
    """How many times as long as it takes where nothing disturbs it the floor took, by flows; said where it was a tenth more."""
    slow = {}
    for case in results.cases(BENCH):
        usual = FLOOR.get(case.flows) if case.name.startswith("floor,") else None
        spread = results.spread(case, VARIANT, "cycles") if usual else None
        if spread:
            slow[case.flows] = max(1, spread.median / usual)
            if slow[case.flows] > 1.1:
                results.notes.append(
                    f"The machine was slow: with {case.flows:,} flows the floor took {spread.median:.0f} cycles, elsewhere {usual}. "
                    "Cycles that miss a target by no more than that are in doubt.")
    return slow


def count(run):
    """Instructions of each case, by callgrind: they do not vary, so that once is enough. A quick run has no time for it."""
    if run.quick or not shutil.which("valgrind"):
        run.results.notes.append("Instructions were not counted: a full run does so where valgrind is.")
        return
    run.say(f"{BENCH}: instructions")
    counts = Path(__file__).resolve().parents[1] / "counts.py"
    # It also holds them to those that are kept, which are of another profile.
    done = subprocess.run([sys.executable, counts, harness.programs / "engine", "release"], capture_output=True, text=True)
    for name, figure in re.findall(r"^(\w+) +([\d.]+) instructions", done.stdout, re.MULTILINE):
        case = Case(BENCH, f"{name}, instructions", 1000, 64, 32)
        run.results.samples.append(Sample(case, VARIANT, 0, {"instr_per_op": float(figure)}, 1))
        if name in INSTRUCTIONS:
            run.results.limit(case, "instr_per_op", VARIANT, INSTRUCTIONS[name])


def weigh(run):
    """Bytes of an idle connection and of one in TIME-WAIT, all tables of a lane included, with a million of them."""
    run.say(f"{BENCH}: memory")
    file = run.folder / "memory.jsonl"
    words = [harness.programs / "memory", "--flows", 1_000_000, "--json", file]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, preexec_fn=harness.die_with_parent)
    if done.returncode != 0:
        raise Trouble(f"the bench of memory ended with {done.returncode}")
    for line in map(json.loads, file.read_text().splitlines()):
        case = Case(BENCH, f"{line['variant']}, {line['flows']:,}", line["flows"])
        run.results.samples.append(Sample(case, VARIANT, 0, {"bytes_per_conn": line["bytes_per_conn"]}, line["flows"]))
        run.results.limit(case, "bytes_per_conn", VARIANT, BYTES[line["variant"]])


def one(run, number, cases, flows, bursts):
    transactions = 50_000 if run.quick else 200_000
    found, watch = engine(
        run.folder, "--cases", cases, "--flows", flows, "--bursts", bursts, "--transactions", transactions)
    machine, reasons = watch.end()
    # The 10th percentile is what windows without an interruption have.
    reasons = [reason for reason in reasons if "stolen" in reason]
    for line in found:
        bursts = "" if line["burst"] == 32 else f", bursts of {line['burst']}"
        case = Case(BENCH, f"{line['variant']}, {line['flows']:,} flows{bursts}", line["flows"], 64, line["burst"])
        extra = {"unit": line["unit"], **{name: round(line[name], 1) for name in ("p10", "p50", "p90", "mean")}}
        run.results.samples.append(
            Sample(case, VARIANT, number, {"cycles": line["p10"]}, line["n"], reasons, {**machine, **extra}))
