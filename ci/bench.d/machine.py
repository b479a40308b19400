"""The machine that figures come from: what it is, who else used it meanwhile, and whether each side had its core."""

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from harness import die_with_parent

# Beyond these a round is told and not judged. Shares of the processors' time, of one core, and of the time there was.
STEAL_MAX = 0.10
OTHERS_MAX = 0.50
WAITED_MAX = 0.15
# A thread works that has run for this share of the time of its process.
WORKS = 0.1
# How often processes are looked at, which are gone when they have ended. Units: seconds.
LOOK_EVERY = 0.1

CORES = sorted(os.sched_getaffinity(0))
# Each side's own; with one core in all they share it, which every round then says.
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]


def said(*command):
    """What a command prints, if it is there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return (done.stdout or done.stderr).strip()


def provenance(guided):
    """What a figure depends on."""
    here = Path(__file__).resolve().parent
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    changed = said("git", "-C", here, "status", "--porcelain", "--untracked-files=no")
    return {
        "commit": said("git", "-C", here, "rev-parse", "--short", "HEAD") + ("+" if changed else ""),
        "cpu": f"{processor.group(1) if processor else 'unknown'}, {len(CORES)} of {os.cpu_count()} cores",
        "kernel": os.uname().release,
        "dpdk": said("pkg-config", "--modversion", "libdpdk"),
        "nginx": said("nginx", "-v").removeprefix("nginx version: "),
        "rustc": said("rustc", "--version") + (", guided by a run" if guided else ""),
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }


def times():
    """Processor time of the machine so far, in seconds: busy, and stolen by the host."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal, *_ = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields)
    return user + nice + system + irq + softirq, steal


def kernel_threads():
    """The kernel's own for what comes from a link and for RCU: their time is not somebody else's.

    `ip netns exec` gives a program a mount namespace of its own, and whoever leaves one waits for a grace period of RCU. Behind
    a server that polls and goes before them, those threads may not run for a minute: so long the program has not ended.
    """
    names = {path: (path / "comm").read_text() for path in Path("/proc").glob("[0-9]*") if (path / "comm").exists()}
    return [int(path.name) for path, name in names.items() if re.match("ksoftirqd/|napi/|rcu_", name)]


def processor_seconds(pid):
    """Seconds that a process has run, all its threads together, and that one of those that work has waited for a core: the
    one that did so longest. `None` if it is gone.

    Threads that hardly run wait behind those that do, and yield to them: DPDK's own, loggers, those that count.
    """
    try:
        texts = [(thread / "schedstat").read_text().split() for thread in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return None
    threads = [(int(ran), int(waited)) for ran, waited, *_ in texts]
    ran = sum(ran for ran, _ in threads)
    waited = max((waited for its, waited in threads if its >= WORKS * ran), default=0)
    return ran / 1e9, waited / 1e9


def whereabouts(pid):
    """What the threads of a process are at, in a line: names, states, and where in the kernel they wait."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            name, state = re.match(r"\d+ \((.*)\) (\S)", (thread / "stat").read_text(), re.DOTALL).groups()
            found.append(f"{name} {state} {(thread / 'wchan').read_text().strip('0')}".strip())
    return ", ".join(found) or "it has meanwhile"


@contextlib.contextmanager
def first_in_line():
    """Whatever is started within goes before what else the machine does, and so do the kernel's threads that it waits for."""
    # Where the kernel shares out time by sessions first, this session's.
    session = Path("/proc/self/autogroup")
    weighed = re.search(r"nice (-?\d+)", session.read_text()) if session.exists() else None
    pids = [0, *kernel_threads()]
    before = {pid: os.getpriority(os.PRIO_PROCESS, pid) for pid in pids}
    for pid in pids:
        os.setpriority(os.PRIO_PROCESS, pid, -20)
    if weighed:
        session.write_text("-20")
    try:
        yield
    finally:
        if weighed:
            session.write_text(weighed.group(1))
        for pid, priority in before.items():
            os.setpriority(os.PRIO_PROCESS, pid, priority)


# Pids of what `awake` has started.
spinners = []


@contextlib.contextmanager
def awake():
    """Within, no core halts: something turns on each that goes behind all else.

    A virtual core that halts is the host's to give away, and comes back in its own time: that would be measured of whoever
    sleeps, and not of whoever polls.
    """
    processes = []
    try:
        for core in CORES:
            words = [sys.executable, "-c", "while True: pass"]
            process = subprocess.Popen(words, start_new_session=True, preexec_fn=die_with_parent)
            processes.append(process)
            os.sched_setaffinity(process.pid, {core})
            os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
            session = Path(f"/proc/{process.pid}/autogroup")
            if session.exists():
                session.write_text("19")
        spinners.extend(process.pid for process in processes)
        yield
    finally:
        spinners.clear()
        for process in processes:
            process.kill()
            process.wait()


class Watch:
    """Looks at the machine and at the processes of a round, from here until `end`.

    `own_cores`: each process is to have one for itself. Those that the kernel places may well share one, and wait for each
    other by turns.
    """

    def __init__(self, pids, own_cores=True):
        self.pids, self.own_cores = dict(pids), own_cores
        self.kernel = [*kernel_threads(), *spinners]
        self.first, self.last = {}, {}
        self.began, (self.busy, self.steal) = time.monotonic(), times()
        self.look()

    def look(self):
        for name, pid in [*self.pids.items(), *((pid, pid) for pid in self.kernel), ("self", os.getpid())]:
            seen = processor_seconds(pid)
            # A thread that has ended takes its time along: what was seen before is nearer to the whole.
            if seen and seen >= self.last.get(name, seen):
                self.first.setdefault(name, seen)
                self.last[name] = seen

    def until_ended(self, process, seconds):
        """Looks until a process has ended. False: it has not within that time."""
        deadline = time.monotonic() + seconds
        while process.poll() is None:
            if time.monotonic() > deadline:
                return False
            self.look()
            time.sleep(LOOK_EVERY)
        return True

    def ran(self, name):
        """Seconds that a process has run since, as far as it was seen."""
        return self.last[name][0] - self.first[name][0] if name in self.last else 0.0

    def ran_of_asked(self, name):
        """Of the time in which a process ran or waited for a core, the share in which it ran."""
        ran, waited = (self.last[name][at] - self.first[name][at] for at in (0, 1))
        return ran / (ran + waited) if ran else 1.0

    def end(self):
        """What was found: shares, and reasons not to judge by this round."""
        self.look()
        wall = max(time.monotonic() - self.began, 1e-3)
        busy, steal = times()
        others = (busy - self.busy - sum(self.ran(name) for name in self.last)) / wall
        found = {
            "load1": round(os.getloadavg()[0], 2),
            "steal": round((steal - self.steal) / wall / os.cpu_count(), 4),
            "others": round(max(others, 0), 3),
            "ran": {name: round(self.ran(name) / wall, 3) for name in self.pids},
            "waited": {name: round((self.last[name][1] - self.first[name][1]) / wall, 4) for name in self.pids if name in self.last},
        }
        late = {name: share for name, share in found["waited"].items() if share > WAITED_MAX and self.own_cores}
        found["had_cores"] = not late
        reasons = [f"{found['steal']:.0%} stolen by the host"] if found["steal"] > STEAL_MAX else []
        reasons += [f"others took {found['others']:.2f} of a core"] if found["others"] > OTHERS_MAX else []
        reasons += [f"{name} waited {share:.0%} of the time for its core" for name, share in late.items()]
        return found, reasons
