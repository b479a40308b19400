#!/usr/bin/env python3
"""Runs the end-to-end tests of this folder, one after the other, and sums them up in its last line.

Usage: run.py [--programs FOLDER] [--only PATTERN] [--list]
"""

import argparse
import importlib
import re
import shutil
import signal
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
        if path.stem not in ("compare", "guest", "harness", "run"):
            module = importlib.import_module(path.stem)
            for test in cases(unittest.defaultTestLoader.loadTestsFromModule(module)):
                if re.search(pattern, name_of(test)):
                    yield test


class Result(unittest.TestResult):
    """Prints each test as it ends: verdict, time, name, what it shows, and the figures it noted."""

    def startTest(self, test):
        super().startTest(test)
        self.began, self.verdict, self.detail = time.monotonic(), "ok", ""
        signal.alarm(getattr(test, "seconds", TEST_SECONDS))

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)
        seconds = time.monotonic() - self.began
        print(f"  {self.verdict:7} {seconds:6.1f} s  {name_of(test)}: {test.shortDescription() or ''}", flush=True)
        for text in [*getattr(test, "notes", []), *self.detail.strip().splitlines()]:
            print(f"                      {text}", flush=True)

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


def too_late(*_):
    raise AssertionError("the test did not end in its time")


def stop(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=Path, default=FOLDER.parents[1] / "target/release")
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    tests = list(collect(arguments.only))
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
    result = Result()
    try:
        for name in ("httpd", "echo", "loadgen", "corelane"):
            shutil.copy(arguments.programs / name, harness.programs / name)
        unittest.TestSuite(tests).run(result)
    except KeyboardInterrupt:
        result.addError(tests[0], sys.exc_info())
        print("interrupted")
    finally:
        harness.release_all()
        shutil.rmtree(harness.scratch)
    bad = {test.id().split(" ")[0] for test, _ in [*result.failures, *result.errors]}
    skipped = len(result.skipped)
    print(f"end to end: {result.testsRun - len(bad) - skipped} passed; {len(bad)} failed; {skipped} skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
