#!/usr/bin/env python3
"""Runs the end-to-end tests of this folder and sums them up in its last line.

Several workers take classes of tests in turn, a process each, for most tests wait more than they work. Tests that
measure or load the machine (`alone`, in the harness) run after them, one at a time.

Usage: run.py [--programs FOLDER] [--only PATTERN] [--slow-path] [--workers N] [--list]

With --slow-path our programs take every segment by the slow path, and tests that measure or load the machine are left
out: how fast it is then is nobody's business, and all else must be the same.
"""

import argparse
import fcntl
import importlib
import itertools
import json
import os
import re
import shutil
import signal
import struct
import sys
import tempfile
import time
import unittest
from pathlib import Path

import harness

FOLDER = Path(__file__).resolve().parent
TEST_SECONDS = 180


def cases(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from cases(item)
        else:
            yield item


def name_of(test):
    """`area.Class.test_what` without the noise."""
    return re.sub(r"\.test_", ".", test.id())


def collect(pattern):
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem not in ("guest", "harness", "run"):
            module = importlib.import_module(path.stem)
            for test in cases(unittest.defaultTestLoader.loadTestsFromModule(module)):
                if re.search(pattern, name_of(test)):
                    yield test


class Result(unittest.TestResult):
    """Tells of each test as it ends: verdict, time, name, what it shows, and the figures it noted."""

    def startTest(self, test):
        super().startTest(test)
        self.began, self.verdict, self.detail = time.monotonic(), "ok", ""
        signal.alarm(getattr(test, "seconds", TEST_SECONDS))

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)
        seconds = time.monotonic() - self.began
        text = f"  {self.verdict:7} {seconds:6.1f} s  {name_of(test)}: {test.shortDescription() or ''}\n"
        for line in [*getattr(test, "notes", []), *self.detail.strip().splitlines()]:
            text += f"                      {line}\n"
        say(text)

    def _failed(self, test, error):
        self.verdict = "FAILED"
        self.detail += self._exc_info_to_string(error, test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._failed(test, error)

    def addError(self, test, error):
        super().addError(test, error)
        self._failed(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.detail += f"{subtest._subDescription()}\n"
            self._failed(test, error)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.verdict, self.detail = "skipped", reason


    def sums(self):
        """The numbers of tests run and skipped, and the names of those that failed."""
        failed = {test.id().split(" ")[0] for test, _ in [*self.failures, *self.errors]}
        return self.testsRun, len(self.skipped), sorted(failed)


def say(text):
    """Prints a whole text: others may be printing."""
    with open(harness.scratch / "printing", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print(text, end="", flush=True)


def too_late(*_):
    raise AssertionError("the test did not end in its time")


def stop(*_):
    raise KeyboardInterrupt


def is_alone(test):
    return getattr(test, "alone", False) or getattr(getattr(test, test._testMethodName), "alone", False)


def groups_of(tests):
    """The tests of each class, in order: some share what the first of them has started. The longest come first."""
    groups = [list(group) for _, group in itertools.groupby(tests, type)]
    return sorted(groups, key=lambda group: -getattr(group[0], "long", 0))


def run_here(groups):
    """Runs groups of tests in this process. Returns their sums, the last those of an interruption."""
    result = Result()
    try:
        for group in groups:
            unittest.TestSuite(group).run(result)
    except KeyboardInterrupt:
        say("interrupted\n")
        return *result.sums()[:2], [*result.sums()[2], "interrupted"]
    finally:
        harness.release_all()
    return result.sums()


def work(groups, jobs, number):
    """A worker: runs the groups whose numbers it gets from `jobs`, and leaves their sums in a file."""
    harness.libc.prctl(harness.PR_SET_PDEATHSIG, signal.SIGTERM)
    taken = iter(lambda: os.read(jobs, JOB.size), b"")
    sums = run_here(groups[JOB.unpack(job)[0]] for job in taken)
    (harness.scratch / f"sums{number}").write_text(json.dumps(sums))


# How the number of a group is written.
JOB = struct.Struct("I")


def run_beside(groups, workers):
    """Runs groups of tests in so many processes. Returns the sums of each."""
    jobs, source = os.pipe()
    os.write(source, b"".join(map(JOB.pack, range(len(groups)))))
    os.close(source)
    pids = []
    for number in range(workers):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(groups, jobs, number)
                status = 0
            finally:
                # What is the parent's to clean up stays.
                os._exit(status)
        pids.append(pid)
    try:
        for pid in pids:
            os.waitpid(pid, 0)
    except KeyboardInterrupt:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        for pid in pids:
            os.waitpid(pid, 0)
        raise
    files = [harness.scratch / f"sums{number}" for number in range(workers)]
    return [json.loads(file.read_text()) if file.exists() else (1, 0, [f"worker {file.name[4:]}"]) for file in files]


def run_all(tests, workers):
    """Runs all tests: first those that can have others beside them. Returns the sums of all processes."""
    beside = groups_of([test for test in tests if not is_alone(test)])
    alone = groups_of([test for test in tests if is_alone(test)])
    workers = min(workers, len(beside))
    if workers < 2:
        return [run_here(beside + alone)]
    try:
        sums = run_beside(beside, workers)
    except KeyboardInterrupt:
        return [(1, 0, ["interrupted"])]
    return [*sums, run_here(alone)]


# What a program with two lanes takes. Units: huge pages of 2 MiB.
PROGRAM_PAGES = 170


def workers_at_most():
    """One more than there are processors, if there are huge pages for the programs of all."""
    free = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    processors = len(os.sched_getaffinity(0)) + 1
    if not harness.HUGE_PAGES:
        return processors
    return max(1, min(processors, int(free.read_text()) // PROGRAM_PAGES))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=Path, default=FOLDER.parents[1] / "target/release")
    parser.add_argument("--only", default="")
    parser.add_argument("--slow-path", action="store_true")
    parser.add_argument("--workers", type=int, default=workers_at_most())
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    tests = list(collect(arguments.only))
    if arguments.slow_path:
        harness.everywhere.append("--no-fast-path")
        tests = [test for test in tests if not is_alone(test)]
    if arguments.list:
        for test in tests:
            print(f"{name_of(test)}: {test.shortDescription()}")
        return 0
    if not tests:
        sys.exit(f"no end-to-end test is named like {arguments.only}")
    # A copy, so that users without rights can run them, wherever the originals are.
    harness.scratch = Path(tempfile.mkdtemp(prefix="corelane-e2e."))
    harness.scratch.chmod(0o755)
    harness.programs = harness.scratch / "programs"
    harness.programs.mkdir()
    signal.signal(signal.SIGALRM, too_late)
    signal.signal(signal.SIGTERM, stop)
    try:
        for name in ("httpd", "echo", "loadgen", "corelane", "libpacketdrill.so"):
            # Of a few tests it is their business which they need.
            if not arguments.only or (arguments.programs / name).exists():
                shutil.copy(arguments.programs / name, harness.programs / name)
        sums = run_all(tests, arguments.workers)
    finally:
        shutil.rmtree(harness.scratch)
    run = sum(one[0] for one in sums)
    skipped = sum(one[1] for one in sums)
    bad = {name for one in sums for name in one[2]}
    print(f"end to end: {run - len(bad) - skipped} passed; {len(bad)} failed; {skipped} skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
