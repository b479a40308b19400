"""The results as one page of HTML with nothing outside of it."""

from html import escape

import chart
import table
from results import METRICS

STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --pale: #6b7480; --line: #d9dde2; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e6ea; --pale: #99a2ad; --line: #3a4149; --paper: #16191d; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1010px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1rem; margin-bottom: .2rem; } p { max-width: 46rem; } .pale, footer { color: var(--pale); }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; } .wide { overflow-x: auto; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--pale); font-weight: 500; } .met { color: #2a7d4f; } .missed { color: #c2502e; } .unclear { color: var(--pale); }
svg { max-width: 100%; height: auto; display: block; margin: .3rem 0 1.4rem; } svg text { font: 11px system-ui, sans-serif; fill: var(--ink); }
svg .label { text-anchor: end; } svg .group { text-anchor: end; font-weight: 600; } svg .axis { text-anchor: middle; fill: var(--pale); }
svg .tick { stroke: var(--line); } svg .one { stroke: var(--pale); stroke-width: 1.5; } svg .whisker { stroke: var(--ink); fill: none; opacity: .7; }
svg .target { stroke: #b5486b; stroke-width: 2.5; }
"""


def row(cells, tag="td"):
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def verdicts(results):
    rows = table.verdict_rows(results)
    if not rows:
        return ""
    kinds = {"met": "met", "missed": "missed"}
    body = "".join(
        row([escape(what), escape(reached), escape(target), f'<span class="{kinds.get(verdict, "unclear")}">{verdict}</span>'])
        for what, reached, target, verdict in rows
    )
    return f'<h2>Targets</h2><div class="wide"><table>{row(["what", "reached", "target", "verdict"], "th")}{body}</table></div>'


def charts(results, bench):
    variants = results.variants(bench)
    parts = []
    for metric in results.metrics(bench):
        groups = []
        for case in results.cases(bench):
            spreads = [(at, name, results.spread(case, name, metric)) for at, name in enumerate(variants)]
            if group := [bar for bar in spreads if bar[2]]:
                groups.append((case.name, group))
        better = "more" if METRICS[metric][2] else "less"
        parts.append(f'<h3>{escape(table.title_of(metric))} <span class="pale">({better} is better)</span></h3>')
        parts.append(chart.bars(metric, groups, table.number))
    rows = [
        (f"{ratio.case.name}: {ratio.ours}, {METRICS[ratio.metric][0]}" if len(variants) > 2 else f"{ratio.case.name}: {METRICS[ratio.metric][0]}",
         ratio.spread, ratio.target)
        for ratio in results.ratios if ratio.case.bench == bench
    ]
    if rows:
        beside = {ratio.theirs for ratio in results.ratios if ratio.case.bench == bench}
        parts.append(f"<h3>How many times better than {escape(', '.join(sorted(beside)))}</h3>")
        parts.append(chart.ratios("ratios", rows, table.number))
    return "".join(parts)


def figures(results, bench):
    metrics = results.metrics(bench)
    body = []
    for case in results.cases(bench):
        for variant in results.variants(bench):
            if samples := results.of(case, variant):
                cells = [table.spread_text(results.spread(case, variant, metric)) for metric in metrics]
                reasons = sorted({reason for sample in samples for reason in sample.reasons})
                about = f'<span title="{escape("; ".join(reasons))}">{escape(table.machine_of(samples))}</span>'
                body.append(row([escape(case.name), escape(variant), *map(escape, cells), about]))
    head = row(["case", "contestant", *(escape(table.title_of(metric)) for metric in metrics), "rounds"], "th")
    return f'<details><summary>All figures</summary><div class="wide"><table>{head}{"".join(body)}</table></div></details>'


def html(results, modules):
    """The page."""
    about = ", ".join(f"{name} {value}" for name, value in results.provenance.items())
    sections = "".join(
        f"<h2>{escape(module.TITLE)}</h2><p>{escape(module.ABOUT)}</p>{charts(results, module.BENCH)}{figures(results, module.BENCH)}"
        for module in modules if module.BENCH in results.benches()
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in results.notes)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Corelane: figures</title><style>{STYLE}</style>'
        f'<h1>Corelane beside Linux</h1><p class="pale">{escape(about)}</p>'
        "<p>Contestants were measured in turns within one run; bars are medians of the clean rounds, whiskers reach from the least to "
        "the most. Hollow bars and grey dots: no round was clean, so nothing is judged by them. Compare within one run alone.</p>"
        f"{verdicts(results)}{sections}{f'<h2>Notes</h2><ul>{notes}</ul>' if notes else ''}"
        "</html>\n"
    )
