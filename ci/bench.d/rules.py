#!/usr/bin/env python3
"""What each rule of the hot path is worth: the engine's own bench as it is, beside one in which the rule is broken.

The rules, and the texts by which each is broken in a copy of the sources, stand in `rules/rules.toml`. Run by itself it says
whether all those texts still fit the sources.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "rules"

BENCH = "rules"
TITLE = "What each rule of the hot path is worth"
ABOUT = (
    "Cycles of a request of 64 bytes on one lane by itself (10th percentile), as it is and with one rule broken in a copy of "
    "the sources. Above 1 the rule pays; what is closer to 1 than the rounds are to each other is noise."
)
AS_IT_IS, BROKEN = "as it is", "broken"
FLOWS = (1000, 64_000)
TRANSACTIONS = 100_000


def rules():
    return tomllib.loads((FOLDER / "rules.toml").read_text())["rule"]


def broken(rule, root):
    """The files that a rule changes, as they are once it is broken, by their paths."""
    files = {}
    for edit in rule["edits"]:
        name = edit["file"]
        text = files.get(name) or (root / name).read_text()
        if "between" in edit:
            first, last = edit["between"]
            if text.count(first) != 1 or last not in text.split(first)[1]:
                raise ValueError(f"{rule['name']}: {name} has no one place between `{first}` and `{last}`")
            front, rest = text.split(first)
            files[name] = front + (FOLDER / edit["with"]).read_text() + rest[rest.index(last):]
        else:
            if text.count(edit["find"]) != 1:
                raise ValueError(f"{rule['name']}: {name} has `{edit['find']}` {text.count(edit['find'])} times, not once")
            files[name] = text.replace(edit["find"], edit["put"])
    return files


def copy_sources(to):
    """What git knows of, in a folder of its own: files that are the same there already keep their times."""
    names = subprocess.run(["git", "-C", REPOSITORY, "ls-files", "-z"], capture_output=True, check=True).stdout
    for name in names.decode().split("\0"):
        source, copy = REPOSITORY / name, to / name
        if name and source.is_file() and not (copy.is_file() and copy.read_bytes() == source.read_bytes()):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)


def build(tree, target, to):
    """Builds the engine's bench and leaves it at `to`."""
    command = ["cargo", "build", "--quiet", "--locked", "--release", "-p", "benches", "--bin", "engine"]
    # A broken rule leaves things that nobody needs.
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target), "RUSTFLAGS": f"{os.environ.get('RUSTFLAGS', '')} -Awarnings"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{to.name} does not build: {done.stderr.strip()[:400]}")
    shutil.copy(target / "release/engine", to)


def plan(run):
    """One rule after the other; of each, as it is and broken in turns."""
    import harness
    from ends import Trouble

    place = harness.programs.parent / BENCH
    tree, target, whole, other = place / "tree", place / "target", place / AS_IT_IS.replace(" ", "-"), place / BROKEN
    tree.mkdir(parents=True, exist_ok=True)
    copy_sources(tree)
    run.say(f"{BENCH}: builds the engine as it is")
    build(tree, target, whole)
    for rule in rules():
        run.say(f"{BENCH}: builds it where {rule['broken']}")
        try:
            build_broken(rule, tree, target, other)
            compare(run, rule, {AS_IT_IS: whole, BROKEN: other})
        except (Trouble, ValueError) as error:
            # The others are still to be measured.
            run.results.notes.append(f"{BENCH}: {str(error).splitlines()[0]}")


def compare(run, rule, programs):
    """Rounds of both in turns, on as many flows as the rule names."""
    from results import Case

    cases = [
        Case(BENCH, f"{rule['name']} ({rule['broken']}), {flows:,} flows", flows, 64, 32) for flows in rule.get("flows", FLOWS)
    ]
    for number in range(run.count):
        run.say(f"{BENCH}: round {number + 1} of {run.count}, {rule['name']}")
        for case in cases:
            for name in list(programs)[:: 1 if number % 2 == 0 else -1]:
                run.results.samples.append(measured(run, programs[name], case, name, number))
    for case in cases:
        run.results.compare(case, "cycles", AS_IT_IS, BROKEN)


def build_broken(rule, tree, target, to):
    """Builds it with a rule broken, and leaves the sources as they were."""
    files = broken(rule, tree)
    before = {name: (tree / name).read_text() for name in files}
    try:
        for name, text in files.items():
            (tree / name).write_text(text)
        build(tree, target, to)
    finally:
        for name, text in before.items():
            (tree / name).write_text(text)


def measured(run, program, case, name, number):
    """One run of the bench."""
    import harness
    from ends import Trouble
    from machine import SERVER_CORE, Watch
    from results import Sample

    file = run.folder / "rule.jsonl"
    words = ["--cases", "rr_64", "--flows", case.flows, "--transactions", TRANSACTIONS]
    command = ["taskset", "-c", SERVER_CORE, program, "--json", file, *words]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               preexec_fn=harness.die_with_parent)
    watch = Watch({"lane": process.pid})
    if not watch.until_ended(process, 300) or process.returncode != 0:
        raise Trouble(f"the engine's bench ended with {process.returncode} where it is {name}: {case.name}")
    machine, reasons = watch.end()
    reasons = [reason for reason in reasons if "stolen" in reason]
    [line] = [json.loads(line) for line in file.read_text().splitlines()]
    machine["mean"] = round(line["mean"], 1)
    return Sample(case, name, number, {"cycles": line["p10"]}, line["n"], reasons, machine)


def main():
    try:
        for rule in rules():
            broken(rule, REPOSITORY)
    except ValueError as error:
        sys.exit(str(error))
    print(f"{len(rules())} rules can be broken as they are written")


if __name__ == "__main__":
    main()
