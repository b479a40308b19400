"""The results as text: figures with their spread, the machine, ratios and verdicts."""

from results import METRICS


def number(value):
    """Three digits or so."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"


def spread_text(spread):
    """Median, and in brackets least and most."""
    if spread is None:
        return "-"
    if spread.rounds == 1:
        text = number(spread.median)
    else:
        text = f"{number(spread.median)} [{number(spread.least)}-{number(spread.most)}]"
    return text if spread.valid else f"({text})"


def title_of(metric):
    name, unit, _ = METRICS[metric]
    return f"{name}, {unit}" if unit else name


def machine_of(samples):
    """Load, steal and cores of a contestant's rounds, and how many of them are clean."""
    clean = sum(sample.valid for sample in samples)
    watched = [sample.machine for sample in samples if sample.machine]
    if not watched:
        return f"{clean}/{len(samples)} clean"
    load = max(machine.get("load1", 0) for machine in watched)
    steal = max(machine.get("steal", 0) for machine in watched)
    cores = "own cores" if all(machine.get("had_cores", True) for machine in watched) else "SHARED cores"
    return f"{clean}/{len(samples)} clean, load {load:.1f}, steal {steal:.0%}, {cores}"


def columns(rows):
    """Rows of cells, each column as wide as it must be."""
    widths = [max(len(row[at]) for row in rows if at < len(row)) for at in range(max(map(len, rows)))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def bench_lines(results, module):
    bench = module.BENCH
    metrics = results.metrics(bench)
    rows = [["case", "contestant", *map(title_of, metrics), "rounds"]]
    for case in results.cases(bench):
        for variant in results.variants(bench):
            samples = results.of(case, variant)
            if samples:
                figures = [spread_text(results.spread(case, variant, metric)) for metric in metrics]
                rows.append([case.name, variant, *figures, machine_of(samples)])
    lines = ["", module.TITLE, *columns(rows)]
    ratios = [ratio for ratio in results.ratios if ratio.case.bench == bench]
    if ratios:
        rows = [["case", "better by this factor", "ratio", "target"]]
        for ratio in ratios:
            target = f"{ratio.target:g}: {ratio.verdict}" if ratio.target else ""
            rows.append([ratio.case.name, f"{ratio.ours}: {METRICS[ratio.metric][0]}", spread_text(ratio.spread), target])
        lines += ["", *columns(rows)]
    return lines


def verdict_rows(results):
    """All that have a target: what, what was reached, the target, the verdict."""
    rows = []
    for ratio in results.ratios:
        if ratio.target is not None:
            what = f"{ratio.case.bench}: {ratio.case.name}, {METRICS[ratio.metric][0]}, {ratio.ours} beside {ratio.theirs}"
            rows.append((what, f"{spread_text(ratio.spread)} x", f">= {ratio.target:g} x", ratio.verdict))
    for limit in results.limits:
        sign = ">=" if METRICS[limit.metric][2] else "<="
        what = f"{limit.case.bench}: {limit.case.name}, {title_of(limit.metric)}, {limit.variant}"
        rows.append((what, spread_text(limit.spread), f"{sign} {limit.target:g}", limit.verdict))
    return rows


def text(results, modules):
    """The whole of it."""
    lines = [", ".join(f"{name} {value}" for name, value in results.provenance.items())]
    lines += ["median [least-most] of the clean rounds; (in brackets): no round was clean, see why in results.jsonl"]
    for module in modules:
        if module.BENCH in results.benches():
            lines += bench_lines(results, module)
    if verdicts := verdict_rows(results):
        lines += ["", "Targets", *columns([["what", "reached", "target", ""], *map(list, verdicts)])]
    troubles = {f"{sample.variant}, {sample.case.name}: {reason}" for sample in results.samples if not sample.figures for reason in sample.reasons}
    if troubles:
        lines += ["", "Not measured", *(f"  {trouble}" for trouble in sorted(troubles))]
    lines += [f"  {note}" for note in results.notes]
    return "\n".join(lines)
