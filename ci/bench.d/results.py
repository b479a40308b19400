"""What was measured: samples of one round each, the ratios of contestants that were measured in turns, and JSON lines."""

import dataclasses
import json
import statistics

# How a metric is called, its unit, and whether more of it is better.
METRICS = {
    "per_second": ("transactions", "/s", True),
    "cpu_us_per_op": ("processor time each", "us", False),
    "per_cpu_second": ("connections per processor second", "/s", True),
    "p50_us": ("p50", "us", False),
    "p99_us": ("p99", "us", False),
    "gbit": ("goodput", "Gbit/s", True),
    "core_per_gbit": ("cores per Gbit/s, the busier side", "", False),
    "idle_sender": ("idle share, sender", "%", True),
    "idle_receiver": ("idle share, receiver", "%", True),
    "mbit": ("goodput", "Mbit/s", True),
    "cycles": ("cycles each, p10", "", False),
    "instr_per_op": ("instructions each", "", False),
    "bytes_per_conn": ("bytes of a connection", "", False),
    "share": ("of the ceiling", "%", True),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """What is asked of every contestant."""

    bench: str
    name: str
    flows: int = 1
    size: int = 64
    burst: int = 1


@dataclasses.dataclass
class Sample:
    """What one contestant did in one round: figures by metric, and what speaks against them."""

    case: Case
    variant: str
    round: int
    figures: dict
    count: int = 0
    reasons: list = dataclasses.field(default_factory=list)
    # How the machine fared, and what else is worth a line of JSON.
    machine: dict = dataclasses.field(default_factory=dict)

    @property
    def valid(self):
        return not self.reasons


@dataclasses.dataclass
class Spread:
    """Median, least and most of some rounds."""

    median: float
    least: float
    most: float
    rounds: int
    valid: bool

    @staticmethod
    def of(values, valid):
        return Spread(statistics.median(values), min(values), max(values), len(values), valid)

    def verdict(self, target, more):
        """What all rounds say of a target, be it that `more` is better; where they do not agree, it is in doubt."""
        worst, best = (self.least, self.most) if more else (-self.most, -self.least)
        target = target if more else -target
        if worst >= target:
            return "met"
        return "missed" if best < target else "in doubt"


@dataclasses.dataclass
class Ratio:
    """How much better `ours` is than `theirs` by a metric, round by round: above 1 is better, whatever the metric."""

    case: Case
    metric: str
    ours: str
    theirs: str
    spread: Spread
    target: float | None = None

    @property
    def verdict(self):
        """`None` without a target; and by fewer than two pairs of clean rounds nothing is judged."""
        if self.target is None:
            return None
        if not self.spread.valid or self.spread.rounds < 2:
            return "not judged"
        return self.spread.verdict(self.target, more=True)


@dataclasses.dataclass
class Limit:
    """A target for a figure by itself."""

    case: Case
    metric: str
    variant: str
    target: float
    spread: Spread
    # How many times as long as elsewhere the machine took for work that is nobody's, where that was measured: 1 or more.
    slowness: float = 1

    @property
    def verdict(self):
        """What is missed by no more than the machine was slow is in doubt."""
        if not self.spread.valid:
            return "not judged"
        more = METRICS[self.metric][2]
        verdict = self.spread.verdict(self.target, more)
        eased = self.target / self.slowness if more else self.target * self.slowness
        return "in doubt" if verdict == "missed" and self.spread.verdict(eased, more) != "missed" else verdict


class Results:
    """All samples of a run, in the order in which they were taken."""

    def __init__(self, provenance):
        self.provenance = provenance
        self.samples = []
        self.ratios = []
        self.limits = []
        self.notes = []

    def benches(self):
        return list(dict.fromkeys(sample.case.bench for sample in self.samples))

    def cases(self, bench):
        return list(dict.fromkeys(sample.case for sample in self.samples if sample.case.bench == bench))

    def variants(self, bench):
        return list(dict.fromkeys(sample.variant for sample in self.samples if sample.case.bench == bench))

    def of(self, case, variant):
        return [sample for sample in self.samples if (sample.case, sample.variant) == (case, variant)]

    def metrics(self, bench):
        found = {metric for sample in self.samples if sample.case.bench == bench for metric in sample.figures}
        return [metric for metric in METRICS if metric in found]

    def spread(self, case, variant, metric):
        """Of the clean rounds, or where there was none of all of them; `None` where nothing was measured."""
        measured = [sample for sample in self.of(case, variant) if metric in sample.figures]
        clean = [sample for sample in measured if sample.valid]
        values = [sample.figures[metric] for sample in clean or measured]
        return Spread.of(values, bool(clean)) if values else None

    def compare(self, case, metric, ours, theirs, target=None):
        """Adds the ratio of two contestants' rounds that stood side by side."""
        pairs = []
        others = {sample.round: sample for sample in self.of(case, theirs)}
        for mine in self.of(case, ours):
            other = others.get(mine.round)
            if other and mine.figures.get(metric) and other.figures.get(metric):
                ratio = mine.figures[metric] / other.figures[metric]
                pairs.append((ratio if METRICS[metric][2] else 1 / ratio, mine.valid and other.valid))
        clean = [ratio for ratio, valid in pairs if valid]
        if pairs:
            spread = Spread.of(clean or [ratio for ratio, _ in pairs], bool(clean))
            self.ratios.append(Ratio(case, metric, ours, theirs, spread, target))

    def limit(self, case, metric, variant, target, slowness=1):
        """Adds a target for a figure by itself."""
        if spread := self.spread(case, variant, metric):
            self.limits.append(Limit(case, metric, variant, target, spread, slowness))

    def lines(self):
        """All as JSON, one object a line."""
        common = {name: self.provenance[name] for name in ("commit", "cpu", "date")}
        for sample in self.samples:
            figures = {name: round(value, 4) for name, value in sample.figures.items()}
            yield json.dumps({
                "kind": "round", **of_case(sample.case), "variant": sample.variant, "round": sample.round, **common,
                **figures, "n": sample.count, **sample.machine, "valid": sample.valid, "reasons": sample.reasons,
            })
        for ratio in self.ratios:
            yield json.dumps({
                "kind": "ratio", **of_case(ratio.case), "variant": ratio.ours, "beside": ratio.theirs, "unit": ratio.metric, **common,
                **of_spread("ratio", ratio.spread), "target": ratio.target, "verdict": ratio.verdict,
            })
        for limit in self.limits:
            yield json.dumps({
                "kind": "limit", **of_case(limit.case), "variant": limit.variant, "unit": limit.metric, **common,
                **of_spread("figure", limit.spread), "target": limit.target, "slowness": round(limit.slowness, 2),
                "verdict": limit.verdict,
            })


def of_case(case):
    return {"bench": case.bench, "case": case.name, "flows": case.flows, "size": case.size, "burst": case.burst}


def of_spread(name, spread):
    median, least, most = (round(value, 4) for value in (spread.median, spread.least, spread.most))
    return {name: median, f"{name}_min": least, f"{name}_max": most, "n": spread.rounds, "valid": spread.valid}
