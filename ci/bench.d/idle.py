"""Idle connections beside busy ones: requests on a thousand of them, alone and among up to a million that are silent."""

from engine import engine
from results import Case, Sample

BENCH = "idle"
TITLE = "A thousand busy connections beside idle ones"
ABOUT = (
    "Cycles of a request of 64 bytes on one lane by itself (10th percentile), its connections spread among the idle ones. "
    "No idle connection may cost a busy one anything: at most a tenth, with a million of them."
)
BUSY = 1000
TRANSACTIONS = 400_000
ALONE, BESIDE = "1,000 alone", "beside idle ones"


def plan(run):
    """In turns: alone, then beside each number of idle ones. A quick run has no million: opening it takes 20 s."""
    counts = (100_000,) if run.quick else (10_000, 100_000, 1_000_000)
    cases = [Case(BENCH, f"{count:,} idle", count + BUSY, 64, 32) for count in counts]
    for number in range(run.count):
        for case in cases:
            for name, flows in ((ALONE, BUSY), (BESIDE, case.flows)):
                run.say(f"{BENCH}: round {number + 1} of {run.count}, {case.name}, {name}")
                [line], watch = engine(
                    run.folder, "--cases", "rr_64", "--flows", flows, "--busy", BUSY, "--transactions", TRANSACTIONS)
                machine, reasons = watch.end()
                reasons = [reason for reason in reasons if "stolen" in reason]
                machine["mean"] = round(line["mean"], 1)
                run.results.samples.append(Sample(case, name, number, {"cycles": line["p10"]}, line["n"], reasons, machine))
    for case in cases:
        run.results.compare(case, "cycles", BESIDE, ALONE, 1 / 1.1 if case.flows > 1_000_000 else None)
