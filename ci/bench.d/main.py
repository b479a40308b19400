#!/usr/bin/env python3
"""Every comparison in one run: contestants in turns, a table, JSON lines and a page with charts. `ci/bench` calls it.

Each comparison is a file of this folder with a `plan`; what they share is in `ends` (contestants), `machine` (whether
a figure may be judged by) and `results`; `table`, `chart` and `page` tell what was found.
"""

import argparse
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import harness
import page
import table
from ends import Ending, Trouble
from machine import awake, first_in_line, provenance
from results import Results, Sample

import bulk
import ceiling
import echoing
import engine
import idle
import loss
import rules
import serving

COMPARISONS = (echoing, serving, bulk, loss, idle, engine, ceiling, rules)
# By themselves alone in a quick run: each would take as long as all others.
NOT_QUICK = (ceiling, rules)
ROUNDS_QUICK, ROUNDS_FULL = 3, 5


class Run:
    """How the comparisons are to be run, and where what they find goes."""

    def __init__(self, options, folder):
        self.quick, self.folder = options.quick, folder
        self.count = ROUNDS_QUICK if options.quick else ROUNDS_FULL
        # Of one measurement. wrk takes whole seconds alone.
        self.seconds = 0.5 if options.quick else 2
        self.seconds_whole = 1 if options.quick else 2
        self.site = folder / "site"
        self.site.mkdir()
        (self.site / "index.html").write_text("<!doctype html><title>bench</title>\n")
        self.results = Results(provenance(options.guided))
        self.began = time.monotonic()

    def say(self, text):
        """What is going on, on a line of its own or in place of the one before."""
        elapsed = time.monotonic() - self.began
        line = f"[{elapsed:4.0f} s] {text}"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line:.{shutil.get_terminal_size().columns - 1}}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def rounds(self, bench, contestants, cases, measure):
        """A B A B: in each round the contestants take turns, started anew: at each case, or in a quick run at all of them.

        The machine is a shared one, whose speed changes within a minute: figures that are compared lie seconds apart.

        `contestants` are names with what makes one; `measure(contestant, case, round)` gives a sample. What goes wrong is
        a sample without figures, and the run goes on.
        """
        groups = [cases] if self.quick else [[case] for case in cases]
        for number, (turn, group) in itertools.product(range(self.count), enumerate(groups)):
            # Who comes first takes turns too.
            order = list(contestants) if (number + turn) % 2 == 0 else list(reversed(contestants))
            for name in order:
                what = "" if self.quick else f", {group[0].name}"
                self.say(f"{bench}: round {number + 1} of {self.count}{what}, {name}")
                self.one(name, contestants[name], group, measure, number)

    def one(self, name, make, cases, measure, number):
        left = list(cases)
        while left:
            try:
                with make() as contestant:
                    while left:
                        sample = measure(contestant, left.pop(0), number)
                        self.results.samples.append(sample)
            except (Trouble, AssertionError, OSError, ValueError, KeyError, TimeoutError) as error:
                # The one that was at it; or if the contestant did not even start, none can be measured.
                done = {sample.case for sample in self.results.samples if (sample.variant, sample.round) == (name, number)}
                failed = next((case for case in cases if case not in done), None)
                reason = first_line(error)
                self.say(f"{name}: {reason}")
                started = len(left) < len(cases)
                for case in ([failed] if started else left) if failed else []:
                    self.results.samples.append(Sample(case, name, number, {}, 0, [reason]))
                if not started:
                    return


def first_line(error):
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def arguments():
    parser = argparse.ArgumentParser(prog="ci/bench", description="Measures Corelane beside Linux, both in turns. All of it takes the better part of an hour.")
    parser.add_argument("--quick", action="store_true", help="about two minutes: fewer cases, shorter, three rounds")
    parser.add_argument("--only", metavar="PATTERN", default="", help="comparisons whose names have this in them, as a regular expression")
    parser.add_argument("--out", metavar="FOLDER", default="bench-results", type=Path, help="where results.jsonl and report.html go [bench-results]")
    parser.add_argument("--guided", action="store_true", help="of programs that are built as a run of them advises: see ci/guided; five minutes more")
    parser.add_argument("--gently", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("programs", nargs="?", type=Path, help=argparse.SUPPRESS)
    return parser, parser.parse_args()


def main():
    parser, options = arguments()
    chosen = [module for module in COMPARISONS if re.search(options.only, module.BENCH)]
    if options.quick and not options.only:
        chosen = [module for module in chosen if module not in NOT_QUICK]
    if not chosen:
        names = ", ".join(module.BENCH for module in COMPARISONS)
        parser.error(f"no comparison has `{options.only}` in its name; they are: {names}")
    harness.programs, Ending.gently = options.programs, options.gently
    if not options.out.exists():
        options.out.mkdir(parents=True)
        owner = os.stat(options.out.parent)
        os.chown(options.out, owner.st_uid, owner.st_gid)
    folder = Path(tempfile.mkdtemp(prefix="corelane-bench."))
    folder.chmod(0o755)
    harness.scratch = folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(options, folder)
    try:
        with awake(), first_in_line():
            for module in chosen:
                try:
                    module.plan(run)
                except (Trouble, AssertionError, OSError, ValueError, KeyError) as error:
                    run.results.notes.append(f"{module.BENCH} was broken off: {first_line(error)}")
                tell(run, options.out, chosen)
        run.say("done")
        if sys.stderr.isatty():
            print(file=sys.stderr)
    finally:
        harness.release_all()
        shutil.rmtree(folder)
    print(table.text(run.results, chosen))
    print(f"\n{options.out / 'results.jsonl'} and {options.out / 'report.html'} have the whole of it.")
    return 0 if any(sample.figures for sample in run.results.samples) else 1


def tell(run, out, chosen):
    """Writes what there is so far: a run that is broken off leaves that."""
    (out / "results.jsonl").write_text("".join(f"{line}\n" for line in run.results.lines()))
    (out / "report.html").write_text(page.html(run.results, chosen))
    # Whose the folder is, theirs they are.
    owner = os.stat(out)
    for name in ("results.jsonl", "report.html"):
        os.chown(out / name, owner.st_uid, owner.st_gid)


if __name__ == "__main__":
    sys.exit(main())
