"""httpd on each of Linux's links beside nginx on veth, with wrk on the other end."""

from ends import Httpd, Nginx
from harness import KIB, make_file
from results import Case, Sample

BENCH = "web"
TITLE = "Web servers: httpd on TAP, AF_PACKET and AF_XDP, nginx on veth, wrk in Linux on the other end"
ABOUT = (
    "A page of 64 bytes, and a file of 64 KiB. The processor time is the server's whole process, its looking for work included: "
    "with one connection, ours spends most of it so. Ours and its client have a core each; nginx and its client run where the kernel "
    "places them. On veth the client's end leaves no checksums to a card that is not there; on a TAP neither end fills in what the other has no use for."
)
PATH = "/page"
LARGE = 64 * KIB
TARGETS = {"keep-alive": (1.5, 1.8), "a connection each": (2.0, 1.5)}


def cases(quick):
    result = [Case(BENCH, f"{flows} × {manner}", flows, 64) for manner in TARGETS for flows in (1, 64)]
    if quick:
        result.remove(Case(BENCH, "1 × a connection each", 1, 64))
    else:
        result += [Case(BENCH, f"{flows:,} × 64 KiB, keep-alive", flows, LARGE) for flows in (1, 64)]
        result += [Case(BENCH, "1,000 × keep-alive", 1000, 64)]
    return result


def make_pages(site):
    """What is fetched."""
    (site / PATH[1:]).write_text("x" * 64)
    make_file(site / "large", LARGE)


def path_of(case):
    return "/large" if case.size == LARGE else PATH


def figures(found):
    return {
        "per_second": found["requests_per_second"],
        "cpu_us_per_op": found["server_seconds"] / max(found["requests"], 1) * 1e6,
        "p50_us": found["p50_us"],
        "p99_us": found["p99_us"],
    }


def plan(run):
    """Rounds of this comparison, contestants in turns."""
    make_pages(run.site)
    all_cases = cases(run.quick)
    ours = [Httpd(run.site, "httpd on TAP", "tap"), Httpd(run.site, "httpd on AF_PACKET", "veth"),
            Httpd(run.site, "httpd on AF_XDP", "veth", "af_xdp")]
    contestants = {each.name: lambda each=each: each for each in [*ours, Nginx(run.site)]}

    def measure(contestant, case, number):
        found, watch = contestant.run(path_of(case), case.flows, case.name.endswith("each"), run.seconds_whole)
        machine, reasons = watch.end()
        if found["errors"]:
            reasons.append(f"wrk: {found['errors']}")
        machine["resident_mib"] = contestant.resident_mib()
        return Sample(case, contestant.name, number, figures(found), found["requests"], reasons, machine)

    run.rounds(BENCH, contestants, all_cases, measure)
    for case in all_cases:
        compare(run.results, case, [each.name for each in ours])


def compare(results, case, ours):
    """Each of ours beside nginx; the target is for the best of them."""
    cost_target, rate_target = next(targets for manner, targets in TARGETS.items() if case.name.endswith(manner))
    if case.size == LARGE:
        cost_target, rate_target = None, 1.0
    best = {}
    for metric in ("per_second", "cpu_us_per_op"):
        spreads = {name: results.spread(case, name, metric) for name in ours}
        known = {name: spread.median for name, spread in spreads.items() if spread}
        pick = max if metric == "per_second" else min
        best[metric] = pick(known, key=known.get) if known else None
    for name in ours:
        wanted = rate_target if name == best["per_second"] else None
        results.compare(case, "per_second", name, Nginx.name, wanted)
        wanted = cost_target if name == best["cpu_us_per_op"] and case.flows > 1 else None
        results.compare(case, "cpu_us_per_op", name, Nginx.name, wanted)
        results.compare(case, "p50_us", name, Nginx.name)
