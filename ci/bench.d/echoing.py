"""Stack to stack: our echo over memif between two processes beside Linux's over veth, by connections, manner and size."""

from ends import EpollOnVeth, OursOnMemif, SOURCES, latencies
from results import Case, Sample

BENCH = "echo"
TITLE = "Stack to stack: echo over shared memory, and on Linux over veth"
ABOUT = (
    "Both ends of the connection are counted: of ours the time of turns in which something moved, of Linux the processes' time. "
    "Ours polls on a core a side; Linux's two run where the kernel places them. "
    "A ratio above 1 says how many times better ours is."
)
SEVERAL = 16


def case(flows, manner="ping-pong", size=64):
    burst = SEVERAL if manner == "pipelined" else 1
    return Case(BENCH, f"{flows:,} × {size:,} B, {manner}", flows, size, burst)


QUICK = [case(1), case(64), case(64, "pipelined"), case(64, "a connection each")]
FULL = [
    *(case(flows) for flows in (1, 64, 1000, 10_000)),
    *(case(flows, "pipelined") for flows in (1, 64, 1000, 10_000)),
    *(case(flows, "a connection each") for flows in (1, 64, 1000)),
    *(case(64, size=size) for size in (1024, 16_384, 65_536)),
    *(case(1, size=size) for size in (1024, 65_536)),
]


def words(case):
    """The same for both clients."""
    each = case.name.endswith("a connection each")
    return ["--connections", case.flows, "--ping", case.size, *(["--close"] if each else ["--pipeline", case.burst])]


def figures(case, found):
    """What a client found, as figures."""
    busy = found["busy_seconds"]
    cost = sum(busy.values()) / max(found["requests"], 1) * 1e6
    result = {
        "per_second": found["requests_per_second"],
        "cpu_us_per_op": cost,
        "p50_us": found["latency_ns"]["p50"] / 1e3,
        "p99_us": found["latency_ns"]["p99"] / 1e3,
    }
    if case.name.endswith("a connection each"):
        result["per_cpu_second"] = 1e6 / cost
    return result


def plan(run):
    """Rounds of this comparison, contestants in turns."""
    cases = QUICK if run.quick else FULL
    contestants = {
        OursOnMemif.name: lambda: OursOnMemif("--receive-frames", 32_768),
        EpollOnVeth.name: EpollOnVeth,
    }

    def measure(contestant, case, number):
        more = words(case)
        if contestant.name == OursOnMemif.name:
            more += ["--receive-frames", 32_768, *(["--source", SOURCES] if "--close" in more else [])]
        found, watch = contestant.run(more, run.seconds)
        machine, reasons = watch.end()
        if found["errors"]:
            reasons.append(f"{found['errors']} errors: {found.get('errors_by_kind', '')}")
        if not found["requests"]:
            return Sample(case, contestant.name, number, {}, 0, [*reasons, "nothing was answered"], machine)
        machine["busy"] = {name: round(seconds / found["seconds"], 3) for name, seconds in found["busy_seconds"].items()}
        machine |= latencies(found)
        return Sample(case, contestant.name, number, figures(case, found), found["requests"], reasons, machine)

    run.rounds(BENCH, contestants, cases, measure)
    for case in cases:
        target = 20 if case.size == 64 and case.flows in (1, 64) and "pipelined" not in case.name else None
        each = case.name.endswith("a connection each")
        for metric in ("per_second", "cpu_us_per_op", "p50_us", *(("per_cpu_second",) if each else ())):
            wanted = {"cpu_us_per_op": None if each else target, "per_cpu_second": target, "p50_us": 10 if case == QUICK[0] else None}
            run.results.compare(case, metric, OursOnMemif.name, EpollOnVeth.name, wanted.get(metric))
    run.results.limit(QUICK[0], "p50_us", OursOnMemif.name, 1.5)
