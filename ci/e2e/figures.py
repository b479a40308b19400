"""What `ci/bench` makes of its samples: ratios, verdicts, JSON lines, and a page that needs nothing else. The samples are made up."""

import html.parser
import json
import sys
from pathlib import Path

from harness import Case

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench.d"))

import chart  # noqa: E402
import engine  # noqa: E402
import page  # noqa: E402
import results as found  # noqa: E402
import table  # noqa: E402


class Module:
    """In a comparison's place."""

    BENCH, TITLE, ABOUT = "made-up", "Ours <beside> theirs", "About it."


class Reader(html.parser.HTMLParser):
    """Counts what is opened and what would be fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.counts = [], [], {}

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.fetched += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> within {self.open}"
        self.open.pop()


class Figures(Case):
    """Ours is twice as fast in two clean rounds; in the third somebody else had the core."""

    case = found.Case(Module.BENCH, "64 × 64 B", 64)

    def made_up(self):
        names = ("commit", "cpu", "date")
        results = found.Results(dict.fromkeys(names, "x"))
        for number, (ours, theirs, reasons) in enumerate(((200, 100, []), (240, 100, []), (1, 100, ["others took a core"]))):
            for name, rate in (("ours", ours), ("theirs", theirs)):
                figures = {"per_second": rate, "p50_us": 1e6 / rate}
                machine = {"load1": 1.5, "steal": 0.01, "had_cores": not reasons}
                results.samples.append(found.Sample(self.case, name, number, figures, 10, list(reasons), machine))
        return results

    def test_ratios(self):
        """A ratio is of clean rounds that stood side by side, and above 1 for the better whatever the metric.

        Targets are met or missed where all rounds say so, and else in doubt.
        """
        results = self.made_up()
        for metric, target in (("per_second", 2), ("per_second", 2.1), ("p50_us", 2.3), ("p50_us", 2.5), ("per_second", None)):
            results.compare(self.case, metric, "ours", "theirs", target)
        spread = results.ratios[0].spread
        self.assertEqual((spread.least, spread.most, spread.rounds, spread.valid), (2.0, 2.4, 2, True))
        self.assertAlmostEqual(results.ratios[2].spread.median, 2.2)
        self.assertEqual([ratio.verdict for ratio in results.ratios], ["met", "in doubt", "in doubt", "missed", None])
        for target in (5000, 4900, 4000):
            results.limit(self.case, "p50_us", "ours", target)
        self.assertEqual([limit.verdict for limit in results.limits], ["met", "in doubt", "missed"])

    def test_slow_machine(self):
        """What is missed by no more than the machine was slow is in doubt, and what is met is met."""
        results = self.made_up()
        for target, slowness in ((5000, 1.5), (4000, 1.03), (4000, 1.05), (3000, 1.3)):
            results.limit(self.case, "p50_us", "ours", target, slowness)
        for target, slowness in ((250, 1.02), (250, 1.05)):
            results.limit(self.case, "per_second", "ours", target, slowness)
        verdicts = [limit.verdict for limit in results.limits]
        self.assertEqual(verdicts, ["met", "missed", "in doubt", "missed", "missed", "in doubt"])

    def test_floor(self):
        """The machine's slowness is how much longer than usual the floor took, of as many flows, and is said."""
        results = self.made_up()
        for flows, cycles in ((1000, 78), (64_000, 40)):
            case = found.Case(engine.BENCH, f"floor, {flows:,} flows", flows, 64, 32)
            results.samples.append(found.Sample(case, engine.VARIANT, 0, {"cycles": cycles}, 1))
        self.assertEqual(engine.slowness(results), {1000: 1.5, 64_000: 1})
        self.assertEqual(len(results.notes), 1)

    def test_nothing_clean(self):
        """Where no round was clean nothing is judged, and the figures are in brackets."""
        results = self.made_up()
        for sample in results.samples:
            sample.reasons = ["steal"]
        results.compare(self.case, "per_second", "ours", "theirs", 1)
        self.assertEqual(results.ratios[0].verdict, "not judged")
        self.assertIn("(100)", table.text(results, [Module]).replace("(100 [100-100])", "(100)"))

    def test_written(self):
        """Each line is an object that says whether it may be judged by; the page is whole and fetches nothing."""
        results = self.made_up()
        results.compare(self.case, "per_second", "ours", "theirs", 3)
        lines = [json.loads(line) for line in results.lines()]
        self.assertEqual([line["valid"] for line in lines], [True] * 4 + [False] * 2 + [True])
        self.assertEqual((lines[-1]["ratio"], lines[-1]["ratio_min"], lines[-1]["verdict"]), (2.2, 2.0, "missed"))
        text = page.html(results, [Module])
        reader = Reader()
        reader.feed(text)
        self.assertEqual((reader.open, reader.fetched), ([], []))
        self.assertEqual(reader.counts["svg"], 3, "two metrics and the ratios")
        self.assertNotIn("http", text)
        self.assertIn("Ours &lt;beside&gt; theirs", text)

    def test_axes(self):
        """An axis is logarithmic where figures are far apart, and each bar and tick lies on the plot."""
        for values in ((3, 4, 5), (1e-3, 5), (0.2, 2e6), (7,)):
            for from_zero in (True, False):
                scale, ticks = chart.scale_of(list(values), from_zero)
                places = [scale(value) for value in (*values, *ticks)]
                self.assertTrue(all(0 <= place <= chart.PLOT for place in places), (values, places))
                self.assertEqual(sorted(map(scale, values)), [scale(value) for value in values])
