"""Each link's own ceiling: our servers beside a bare responder, which turns frames round and is no TCP at all."""

import echoing
import serving
from ends import Httpd, OursOnMemif, Responder, ResponderOnMemif
from results import Case, Sample

BENCH = "ceiling"
TITLE = "The links' own ceilings: our servers beside a bare responder on the same link"
ABOUT = (
    "The responder answers each segment by itself, remembers nothing and polls without rest: what the link and the client can do "
    "at most. It repairs no loss: a connection whose frame is lost on the way back is at rest until the client asks again."
)
SERVER, BARE = "our server", "bare responder"
LINKS = {"TAP": ("tap", None), "AF_PACKET": ("veth", None), "AF_XDP": ("veth", "af_xdp")}


def web_measure(run, close):
    def one(contestant, case, number):
        found, watch = contestant.run(serving.PATH, case.flows, close, run.seconds_whole)
        machine, reasons = watch.end()
        if found["errors"]:
            reasons.append(f"wrk: {found['errors']}")
        return Sample(case, contestant.name, number, serving.figures(found), found["requests"], reasons, machine)

    return one


def echo_measure(run):
    def one(contestant, case, number):
        found, watch = contestant.run(["--connections", case.flows, "--pipeline", case.burst], run.seconds)
        machine, reasons = watch.end()
        if found["errors"]:
            reasons.append(f"{found['errors']} errors: {found.get('errors_by_kind', '')}")
        figures = {
            "per_second": found["requests_per_second"],
            "p50_us": found["latency_ns"].get("p50", 0) / 1e3, "p99_us": found["latency_ns"].get("p99", 0) / 1e3,
        }
        return Sample(case, contestant.name, number, figures, found["requests"], reasons, machine)

    return one


def plan(run):
    """Link by link: our server and the responder in turns."""
    serving.make_pages(run.site)
    cases = [Case(BENCH, "memif, 1 × 64 B"), Case(BENCH, "memif, 64 × 64 B, pipelined", 64, 64, echoing.SEVERAL)]

    def named(name, contestant):
        contestant.name = name
        return contestant

    makers = {SERVER: lambda: named(SERVER, OursOnMemif()), BARE: lambda: named(BARE, ResponderOnMemif())}
    run.rounds(BENCH, makers, cases, echo_measure(run))
    for case in cases:
        run.results.compare(case, "per_second", SERVER, BARE)
    for link, (kind, device) in LINKS.items():
        for manner, close in (("keep-alive", False), ("a connection each", True)):
            makers = {
                SERVER: lambda kind=kind, device=device: Httpd(run.site, SERVER, kind, device),
                BARE: lambda kind=kind, device=device, close=close: Responder(run.site, BARE, kind, device, close),
            }
            cases = [Case(BENCH, f"{link}, {flows} × {manner}", flows, 64) for flows in (1, 64)]
            run.rounds(BENCH, makers, cases, web_measure(run, close))
            for case in cases:
                run.results.compare(case, "per_second", SERVER, BARE, 0.95)
    run.results.notes.append(
        "A target for requests per second is met as well where a server reaches 0.95 of the bare responder's rate on its link.")
