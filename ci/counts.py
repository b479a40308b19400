#!/usr/bin/env python3
"""Instructions that the lane spends on each case of `benches`, counted by callgrind, against those kept in the tree.

A count is the slope between a run and one eleven times as long, of the lane's turns alone: repeats agree, whatever else the
machine does. A count more than 2 % above the one that is kept fails. `--write` keeps what was counted.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KEPT = Path(__file__).resolve().parents[1] / "benches" / "counts.json"
# Name, flows, transactions of the short run.
CASES = [
    ("rr_64", 1000, 2000),
    ("rx_data", 1000, 2000),
    ("ack_only", 1000, 2000),
    ("connect_close", 1000, 1000),
    ("ooo_one_hole", 1000, 1000),
    ("rto_fire", 1000, 1000),
    ("bulk_rx", 100, 4000),
    ("bulk_tx", 4, 4000),
]
TOLERANCE = 0.02


def run(program, case, flows, transactions, folder):
    """Instructions and transactions of one run."""
    command = ["valgrind", "--tool=callgrind", "--toggle-collect=*rig::timed*", f"--callgrind-out-file={folder}/{case}.{transactions}"]
    command += [program, "--count", "--cases", case, "--flows", flows, "--transactions", transactions]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    finished = re.search(r"^(\d+) transactions$", done.stdout, re.M)
    if done.returncode or not collected or not finished:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return int(collected[1]), int(finished[1])


def count(program, case, flows, transactions, folder):
    """Instructions a transaction."""
    short, few = run(program, case, flows, transactions, folder)
    long, many = run(program, case, flows, 11 * transactions, folder)
    return (long - short) / (many - few)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="the bench program `engine`")
    parser.add_argument("profile", help="the profile it was built with: each has counts of its own")
    parser.add_argument("--write", action="store_true", help="keep what is counted")
    arguments = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    of_profile = kept.setdefault(arguments.profile, {})
    # Of a profile of which nothing is kept, the counts are told.
    gates = bool(of_profile)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as workers:
        counts = list(workers.map(lambda case: count(arguments.program, *case, folder), CASES))
    bad = []
    for (case, *_), counted in zip(CASES, counts):
        before = of_profile.get(case)
        share = counted / before - 1 if before else None
        print(f"{case:14} {counted:9.1f} instructions" + (f", kept {before}, {share:+.1%}" if before else ", none kept"))
        if gates and (share is None or share > TOLERANCE):
            bad.append(case)
        of_profile[case] = round(counted, 1)
    if arguments.write:
        KEPT.write_text(json.dumps(kept, indent=2) + "\n")
    elif bad:
        sys.exit(
            f"{', '.join(bad)}: more than {TOLERANCE:.0%} above what {KEPT.name} keeps. If that is meant, say why in the commit,"
            f" and keep them: ci/counts.py {arguments.program} {arguments.profile} --write"
        )


if __name__ == "__main__":
    main()
