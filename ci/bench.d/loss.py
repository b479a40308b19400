"""Goodput through a relay that loses segments, 20 ms away: httpd and nginx send to the same kernel, with the same losses."""

import goodput
from harness import MIB, make_file
from machine import Watch
from results import Case, Sample

BENCH = "loss"
TITLE = "Goodput on a lossy path: httpd and nginx through one relay, CUBIC on both"
ABOUT = "The relay loses full segments at random, with the same seed for both, and adds 20 ms. More is better."
SIZES_QUICK = ((1, 2 * MIB),)
OURS, THEIRS = "httpd", "nginx"


def plan(run):
    """Rounds of this comparison, contestants in turns, each round with a seed of its own for both."""
    sizes = SIZES_QUICK if run.quick else goodput.TRANSFERS
    for percent, size in sizes:
        case = Case(BENCH, f"{percent} % lost", 1, size)
        make_file(run.site / str(percent), size)
        for number in range(run.count):
            for name in (OURS, THEIRS) if number % 2 == 0 else (THEIRS, OURS):
                run.say(f"{BENCH}: {percent} %, round {number + 1} of {run.count}, {name}")
                run.results.samples.append(one(run, case, name, percent, number))
        target = 1.0 if percent <= 1 else None
        run.results.compare(case, "mbit", OURS, THEIRS, target)


def one(run, case, name, percent, number):
    watch = Watch({})
    try:
        rate, counts = goodput.measure(name, run.folder, run.site, percent, number, f"/{percent}")
    except (AssertionError, OSError, ValueError) as error:
        return Sample(case, name, number, {}, 0, [str(error)[:200]])
    machine, reasons = watch.end()
    # The relay and both ends are not told from others here, and none of them uses much.
    reasons = [reason for reason in reasons if "others" not in reason]
    machine["relay"] = counts
    return Sample(case, name, number, {"mbit": rate * 8 / 1e6}, 1, reasons, machine)
