"""Charts as SVG, by hand: bars with their spread, and ratios as dots on a line."""

import math
from html import escape

# Told apart by those who see no red or green as well.
COLOURS = ("#0b6e99", "#d1783c", "#8a8f98", "#5b8c5a", "#7a5ba6", "#b5486b")
LABEL, PLOT, VALUE, ROW, TOP = 390, 400, 170, 17, 26


def scale_of(values, from_zero=True):
    """A function from values to places on the plot, and the ticks. Logarithmic where the least is a thirtieth of the most."""
    values = [value for value in values if value > 0]
    if not values:
        return lambda value: 0.0, []
    least, most = min(values), max(values)
    if from_zero and most / least < 30:
        step = 10 ** math.floor(math.log10(most))
        step = next(step * part for part in (0.2, 0.5, 1, 2) if most / (step * part) <= 6)
        ticks = [step * at for at in range(math.floor(most / step) + 1)]
        return (lambda value: max(value, 0) / (most * 1.02) * PLOT), ticks
    # Bars begin at a whole power, so that their lengths can be told; dots have the room they need.
    low = 10 ** math.floor(math.log10(least) - 0.01) if from_zero else least * 0.9
    high = max(most * 1.1, low * (10 if from_zero else 2))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if high / low > 100 else (1, 2, 5)
    ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    span = math.log10(high / low)
    return (lambda value: max(math.log10(max(value, low) / low), 0) / span * PLOT), ticks


def tick_text(value):
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def frame(rows, ticks, scale, body, title):
    """The SVG around the marks of so many rows."""
    height, width = TOP + rows * ROW + 8, LABEL + PLOT + VALUE
    lines = [
        f'<line class="tick" x1="{LABEL + scale(tick):.1f}" x2="{LABEL + scale(tick):.1f}" y1="{TOP - 6}" y2="{height - 6}"/>'
        f'<text class="axis" x="{LABEL + scale(tick):.1f}" y="{TOP - 10}">{tick_text(tick)}</text>'
        for tick in ticks
    ]
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(lines)}{''.join(body)}</svg>"
    )


def label(y, text, kind="label"):
    return f'<text class="{kind}" x="{LABEL - 8}" y="{y + ROW * 0.7:.1f}">{escape(text)}</text>'


def whisker(y, scale, spread):
    low, high, middle = LABEL + scale(spread.least), LABEL + scale(spread.most), y + ROW / 2
    return (
        f'<path class="whisker" d="M{low:.1f} {middle - 3}v6M{low:.1f} {middle}H{high:.1f}M{high:.1f} {middle - 3}v6"/>'
    )


def bars(title, groups, number):
    """Groups of bars: [(name, [(variant's index, variant, spread)])]. Clean ones are filled, others hollow."""
    spreads = [spread for _, group in groups for *_, spread in group]
    scale, ticks = scale_of([value for spread in spreads for value in (spread.median, spread.most)])
    body, y, rows = [], TOP, 0
    for name, group in groups:
        body.append(label(y, name, "group"))
        for index, variant, spread in group:
            y, rows = y + ROW, rows + 1
            colour = COLOURS[index % len(COLOURS)]
            paint = f'fill="{colour}"' if spread.valid else f'fill="none" stroke="{colour}" stroke-dasharray="3 2"'
            body.append(label(y, variant))
            body.append(f'<rect x="{LABEL}" y="{y + 3}" width="{max(scale(spread.median), 1):.1f}" height="{ROW - 6}" {paint}/>')
            body.append(whisker(y, scale, spread))
            at = LABEL + max(scale(spread.median), scale(spread.most)) + 6
            body.append(f'<text class="value" x="{at:.1f}" y="{y + ROW * 0.7:.1f}">{number(spread.median)}</text>')
        y, rows = y + ROW * 1.3, rows + 1.3
    return frame(rows, ticks, scale, body, title)


def ratios(title, rows, number):
    """Dots with whiskers: [(name, spread, target or None)]; a line at 1, a mark at each target."""
    values = [value for _, spread, target in rows for value in (spread.least, spread.most, target or 1, 1)]
    scale, ticks = scale_of(values, from_zero=False)
    one = LABEL + scale(1)
    body = [f'<line class="one" x1="{one:.1f}" x2="{one:.1f}" y1="{TOP - 6}" y2="{TOP + len(rows) * ROW}"/>']
    for at, (name, spread, target) in enumerate(rows):
        y = TOP + at * ROW
        better = spread.median >= (target or 1)
        colour = (COLOURS[0] if better else COLOURS[1]) if spread.valid else COLOURS[2]
        body.append(label(y, name))
        body.append(whisker(y, scale, spread))
        body.append(f'<circle cx="{LABEL + scale(spread.median):.1f}" cy="{y + ROW / 2}" r="4" fill="{colour}"/>')
        if target:
            x = LABEL + scale(target)
            body.append(f'<path class="target" d="M{x:.1f} {y + 2}v{ROW - 4}"/>')
        words = f"{number(spread.median)} ×" + (f" (target {target:g})" if target else "")
        x = LABEL + max(scale(spread.most), scale(target or 0)) + 8
        body.append(f'<text class="value" x="{x:.1f}" y="{y + ROW * 0.7:.1f}">{words}</text>')
    return frame(len(rows), ticks, scale, body, title)
