"""Bulk one way, either way: our echo program drops what comes or sends without end, over memif, beside Linux's over veth."""

from ends import EpollOnVeth, FloodOnMemif, OursOnMemif
from results import Case, Sample

BENCH = "bulk"
TITLE = "Bulk: one way over shared memory, and on Linux over veth, by bytes of each call"
ABOUT = (
    "Four connections. The idle share is what each side's core had left: of ours, turns in which nothing moved. "
    "Linux hands segments of 64 KiB over a veth whole; ours sends frames of 1,500 bytes. Bare frames are what the shared memory "
    "carries of such with no TCP at all, counted as if 1,448 bytes of each were payload."
)
FLOWS = 4
SIZES_QUICK, SIZES_FULL = (4096,), (256, 512, 1024, 4096, 65_536)
UNDER_WAY = 1 << 20
# From here on targets are for a call, and the link's own ceiling stands beside.
LARGE = 4096


def case(way, size):
    return Case(BENCH, f"client {way}, {size:,} B a call", FLOWS, size)


def words(contestant, way, size):
    result = ["--connections", FLOWS]
    if way == "receives":
        return [*result, "--download"]
    ours = contestant.name == OursOnMemif.name
    pipeline = ["--pipeline", min(max(UNDER_WAY // size, 2), 1024)] if ours else []
    return [*result, "--upload", size, *pipeline]


def figures(way, found):
    rate = found["received_bytes_per_second" if way == "receives" else "sent_bytes_per_second"] * 8 / 1e9
    shares = {name: min(seconds / found["seconds"], 1) for name, seconds in found["busy_seconds"].items()}
    sender, receiver = ("server", "client") if way == "receives" else ("client", "server")
    return {
        "gbit": rate, "core_per_gbit": max(shares.values()) / max(rate, 1e-9),
        "idle_sender": (1 - shares[sender]) * 100, "idle_receiver": (1 - shares[receiver]) * 100,
    }


def measure(run, way):
    def one(contestant, case, number):
        found, watch = contestant.run(words(contestant, way, case.size), run.seconds)
        machine, reasons = watch.end()
        if found["errors"]:
            reasons.append(f"{found['errors']} errors: {found.get('errors_by_kind', '')}")
        return Sample(case, contestant.name, number, figures(way, found), found["requests"], reasons, machine)

    return one


def plan(run):
    """Rounds of this comparison, contestants in turns: a server that sends is told the size of its calls."""
    sizes = SIZES_QUICK if run.quick else SIZES_FULL
    large = tuple(size for size in sizes if size >= LARGE)
    small = tuple(size for size in sizes if size < LARGE)
    groups = [("sends", group, ("--discard",)) for group in (small, large) if group]
    groups += [("receives", (size,), ("--generate", size)) for size in sizes]
    for way, group, options in groups:
        contestants = {
            OursOnMemif.name: lambda options=options: OursOnMemif("--receive-frames", 32_768, *options),
            EpollOnVeth.name: lambda options=options: EpollOnVeth(*options),
        }
        if way == "sends" and group == large:
            contestants[FloodOnMemif.name] = FloodOnMemif
        cases = [case(way, size) for size in group]
        run.rounds(BENCH, contestants, cases, measure(run, way))
        for each in cases:
            run.results.compare(each, "gbit", OursOnMemif.name, EpollOnVeth.name)
            run.results.compare(each, "core_per_gbit", OursOnMemif.name, EpollOnVeth.name)
            run.results.compare(each, "gbit", OursOnMemif.name, FloodOnMemif.name)
            if each.size >= LARGE:
                run.results.limit(each, "gbit", OursOnMemif.name, 40)
                run.results.limit(each, "core_per_gbit", OursOnMemif.name, 0.02)
