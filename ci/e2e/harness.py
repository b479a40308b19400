"""What the end-to-end tests share: networks, our programs, clients inside the network, and accounts.

Each test builds a network namespace of its own with a client's side in it, starts one of our programs on the
other side, and has programs that no one here wrote talk to it. Whatever is made here is given back, at the end
of the test or of the run. The tests themselves are in the other files of this folder.
"""

import collections
import contextlib
import ctypes
import hashlib
import itertools
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
START_SECONDS = 20
STOP_SECONDS = 15

FULL = "CORELANE_FULL" in os.environ
HUGE_PAGES = os.environ.get("CORELANE_HUGE") == "yes"

libc = ctypes.CDLL(None, use_errno=True)
numbers = itertools.count(1)
# Folders set by `run.py`: the programs under test, and where tests may write. Any user can read both.
programs = scratch = None
# What `run.py` has every program of ours started with.
everywhere = []


def alone(test):
    """Marks a test, or all of a class, that measures or loads the machine: it runs when no other does."""
    test.alone = True
    return test


def die_with_parent():
    """Runs in a child before it executes: it gets a SIGKILL when the test runner goes, however that goes."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(*command, timeout=60, check=True, **options):
    """Runs a command to its end, with its output as text."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=timeout, preexec_fn=die_with_parent, **options
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done


def until(condition, seconds, what):
    """Polls until `condition` gives something true, which it returns, or fails naming what was awaited."""
    deadline = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s there is still no {what() if callable(what) else what}")
        time.sleep(0.02)


# ---- networks ----------------------------------------------------------------------------------


class Namespace:
    """A network namespace, named after this process; deleted by `delete`."""

    alive = {}

    def __init__(self):
        self.name = f"ce{os.getpid()}n{next(numbers)}"
        run("ip", "netns", "add", self.name)
        Namespace.alive[self.name] = self
        self.file = Path("/run/netns") / self.name
        self.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
        run("ip", "-n", self.name, "link", "set", "lo", "up")

    def command(self, words):
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words, **options):
        return run(*self.command(words), **options)

    def start(self, *words, **options):
        """A process inside, started and not awaited; the caller ends it."""
        return subprocess.Popen(self.command(words), preexec_fn=die_with_parent, **options)

    @contextlib.contextmanager
    def inside(self):
        """Sockets made within the `with` belong to this namespace, for their whole life."""
        with open("/proc/thread-self/ns/net", "rb") as home, open(self.file, "rb") as here:
            assert libc.setns(here.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(home.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())

    def socket(self, kind=socket.SOCK_STREAM, family=socket.AF_INET, protocol=0):
        with self.inside():
            return socket.socket(family, kind, protocol)

    def links(self):
        """Names of the interfaces inside."""
        return {link["ifname"] for link in json.loads(run("ip", "-n", self.name, "-j", "link").stdout)}

    def processes(self):
        return run("ip", "netns", "pids", self.name).stdout.split()

    def delete(self):
        if Namespace.alive.pop(self.name, None):
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", self.name, check=False)


# Kinds of link whose device the program makes.
TAPS = ("tap", "net_tap")


class Network:
    """A client's namespace with 10.77.0.1/24 in it, and what a program of ours needs to answer as 10.77.0.2.

    `tap`: the program makes the device, so `join` sets the client's side up once it is there.
    `net_tap`: the same by DPDK's own driver.
    `veth`: the program has the other end in a namespace beside, through AF_PACKET.
    """

    address = "10.77.0.2"
    client_address = "10.77.0.1"
    # DPDK's driver gives both sides of a TAP the same address; the client's needs its own.
    client_mac = "02:00:0a:4d:00:01"

    def __init__(self, kind):
        self.kind = kind
        self.client = Namespace()
        self.interface = self.client.name
        self.host = self.client
        if kind in TAPS:
            self.device = f"tap:{self.interface}" if kind == "tap" else f"vdev:net_tap0,iface={self.interface}"
        else:
            self.host = Namespace()
            self.device = f"af_packet:{self.host.name}"
            run(*f"ip -n {self.client.name} link add {self.interface} type veth".split(),
                *f"peer name {self.host.name} netns {self.host.name}".split())
            run("ip", "-n", self.host.name, "link", "set", self.host.name, "up")
            # The kernel would leave checksums to a card that is not there, and send frames beyond the MTU.
            self.client.run("ethtool", "-K", self.interface, "tx", "off", "tso", "off", "gso", "off")
            self.join()

    def join(self):
        """Sets the client's side up."""
        name = self.client.name
        run("ip", "-n", name, "link", "set", self.interface, "address", self.client_mac)
        run("ip", "-n", name, "address", "add", f"{self.client_address}/24", "dev", self.interface)
        run("ip", "-n", name, "link", "set", self.interface, "up")

    def offloads_off(self):
        """Makes a capture on the client's side show what is on the wire."""
        for feature in ("rx", "tx", "sg", "tso", "gso", "gro"):
            self.client.run("ethtool", "-K", self.interface, feature, "off", check=False)

    def delete(self):
        self.client.delete()
        self.host.delete()


def start_nginx(namespace, folder, site, connections, more=""):
    """nginx with one worker in a namespace, on port 80. Its files, which a package would make places for, are in `folder`."""
    configuration = folder / "nginx.conf"
    parts = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; user root;\n"
        f"worker_rlimit_nofile {connections + 10_000}; events {{ worker_connections {connections}; }}\n"
        f"http {{ {' '.join(f'{part}_temp_path {folder}/{part};' for part in parts)}\n"
        "access_log off; keepalive_requests 1000000000; open_file_cache max=100;\n"
        f"server {{ listen 80 backlog=4096; root {site}; {more} }} }}\n"
    )
    words = ("nginx", "-e", folder / "nginx.log", "-p", folder, "-c", configuration)
    return namespace.start(*words, stderr=subprocess.DEVNULL)


# ---- our programs ------------------------------------------------------------------------------

Thread = collections.namedtuple("Thread", "name cpus sleeps seconds")


def lanes_of(report):
    """What a report says of each lane."""
    return report.get("lanes_each") or [report]


def no_huge_words(options):
    """Options of a program without huge pages: several lanes or devices need more memory than what one has by itself."""
    return ["--no-huge", *([1024] if "--lanes" in options or "--device" in options else [])]


class Program:
    """One of our programs on a network, from its ready line to its report."""

    alive = set()
    # What must be zero once a program has closed everything.
    COUNTS = ("flows", "half_open", "time_wait", "sockets", "timers", "held_frames", "lent")

    def __init__(self, name, network, folder, options=(), eal=(), root=None, huge_pages=HUGE_PAGES, port=None):
        self.name, self.network = name, network
        self.port = port or {"httpd": 80, "echo": 7}[name]
        self.report_file = folder / f"report{next(numbers)}.json"
        self.error_file = folder / f"errors{next(numbers)}.txt"
        # `eal` are words for DPDK itself.
        # With a second device among the options, each address says whose it is.
        whose = f"@{network.device}" if "--device" in options else ""
        command = [programs / name, *([*eal, "--"] if eal else []), *everywhere, "--device", network.device]
        command += ["--address", f"{network.address}/24{whose}"]
        command += ["--json-report", self.report_file, *options]
        command += ["--root", root] if root else []
        command += ["--port", port] if port else []
        command += [] if huge_pages else no_huge_words(options)
        with open(self.error_file, "wb") as errors:
            self.process = network.host.start(*command, stdout=subprocess.PIPE, stderr=errors)
        Program.alive.add(self)
        self.ready = self._ready_line()
        if network.kind in TAPS:
            network.join()
        self.start = self.report()

    def _ready_line(self):
        """Reads standard output up to the line that says the program is ready."""
        text, deadline = b"", time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                chunk = os.read(self.process.stdout.fileno(), 65536)
                text += chunk
                found = re.search(rb"^%s: .* at .*\n" % self.name.encode(), text, re.MULTILINE)
                if found:
                    return found.group().decode().strip()
                if not chunk:
                    self.process.wait(STOP_SECONDS)
                    raise AssertionError(f"{self.name} ended with {self.process.returncode} before it was ready: {self.errors()}")
        raise AssertionError(f"{self.name} was not ready after {START_SECONDS} s: {self.errors()}")

    def url(self, path="/"):
        return f"http://{self.network.address}:{self.port}{path}"

    def errors(self):
        return self.error_file.read_text(errors="replace")

    def is_running(self):
        return self.process.poll() is None

    def memory_high_bytes(self):
        """The most memory the process has had resident. Huge pages are not in it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * KIB

    def threads(self):
        """The process's threads now: name, CPUs it may run on, times it slept so far, processor seconds so far."""
        found = []
        for folder in Path(f"/proc/{self.process.pid}/task").iterdir():
            status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line)
            nanoseconds = int((folder / "schedstat").read_text().split()[0])
            sleeps = int(status["voluntary_ctxt_switches"])
            found.append(Thread(status["Name"], status["Cpus_allowed_list"], sleeps, nanoseconds / 1e9))
        return found

    def lane(self):
        """The thread that its lane runs in."""
        found = [thread for thread in self.threads() if thread.name.startswith("lane")]
        assert len(found) == 1, self.threads()
        return found[0]

    def processor_seconds(self):
        """Processor time used so far, in user mode and in the kernel."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def report(self):
        """The counters now."""
        assert self.is_running(), f"{self.name} ended with {self.process.returncode}: {self.errors()}"
        self.report_file.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        return until(self._read_report, 10, f"report of {self.name}'s counters")

    def _read_report(self):
        try:
            return json.loads(self.report_file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def settle(self, seconds=15, resting=False):
        """Waits until all that was taken since the start has been given back, and returns the counters then.

        What rests for up to a minute by design may stay, unless `resting` is to be gone too: connections in
        TIME-WAIT, and visits that the timer wheel has promised to flows that ended meanwhile.
        """
        names = ("flows", "half_open", "sockets", "held_frames", "lent", "claims", *(("time_wait", "timers") if resting else ()))

        def differences():
            report = self.report()
            # The sums, or each lane by itself.
            pairs = [*zip(lanes_of(report), lanes_of(self.start), strict=True)]
            wrong = [
                f"lane {now['lane']}: {name} {now[name]}, at the start {start[name]}"
                for now, start in pairs for name in names if now[name] != start[name]
            ]
            wrong += [
                f"lane {now['lane']}: {now['pools'][pool]['available']} frames available in pool {pool},"
                f" at the start {counts['available']}"
                for now, start in pairs for pool, counts in start["pools"].items()
                # More than at the start there may be: the announcement of the address was on its way then.
                if now["pools"][pool]["available"] < counts["available"]
            ]
            return report, wrong

        until(lambda: not differences()[1], seconds, lambda: f"return to what it was: {'; '.join(differences()[1])}")
        return self.report()

    def end(self, sent=signal.SIGTERM):
        """Asks the program to stop, waits, and returns its exit status."""
        if self.is_running():
            self.process.send_signal(sent)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not stop within {STOP_SECONDS} s of signal {sent.name}") from None
        self.process.stdout.close()
        Program.alive.discard(self)
        return status

    def stop(self):
        """Ends the program in order, and asserts that it gave back all that it had taken."""
        if self not in Program.alive:
            return
        if self.is_running():
            self.report_file.unlink(missing_ok=True)
        status = self.end()
        assert status == 0, f"{self.name} ended with {status}: {self.errors()}"
        assert "panicked" not in self.errors(), self.errors()
        assert "\x1b" not in self.errors(), f"a terminal's colours in a file: {self.errors()}"
        report = self._read_report()
        assert report, f"{self.name} left no report"
        left = {name: report[name] for name in self.COUNTS if report[name]}
        assert not left, f"{self.name} closed with {left}"
        for pool, counts in report["pools"].items():
            before = self.start["pools"][pool]["available"]
            assert counts["available"] >= before, f"pool {pool} had {before} frames available at the start, now {counts}"

    def kill(self):
        """Ends the program at once; for when a test is over anyway."""
        if self.is_running():
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        Program.alive.discard(self)


# ---- files and transfers -----------------------------------------------------------------------


def make_file(path, size, seed=1):
    """Writes a file that no shifted, repeated or missing byte leaves unnoticed. Returns its SHA-256.

    Up to 64 MiB it is random throughout; a longer one is sparse, with 64 KiB of random bytes in each 2 MiB.
    """
    source = random.Random(f"{seed} {size}")
    dense = size <= 64 * MIB
    with open(path, "wb") as file:
        file.truncate(size)
        for start in range(0, size, 2 * MIB):
            file.seek(start)
            file.write(source.randbytes(min(size - start, 2 * MIB if dense else 64 * KIB)))
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Transfer:
    """A download by curl: the bytes' SHA-256 and count, curl's status and words, and the time it took."""

    def __init__(self, network, url, *options, timeout=30, keep=False):
        began = time.monotonic()
        self.process = network.client.start(
            "curl", "-sS", "--max-time", timeout, *options, url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.digest, self.length, self.kept = hashlib.sha256(), 0, bytearray() if keep else None
        self.began = began

    def read(self, count):
        """Reads at least so many bytes, if so many come. More wait in the pipe and in the socket."""
        goal = self.length + count
        while self.length < goal and (data := os.read(self.process.stdout.fileno(), 256 * KIB)):
            self.digest.update(data)
            self.length += len(data)
            if self.kept is not None:
                self.kept += data
        return self

    def read_at(self, rate):
        """Reads to the end at so many bytes a second, and never faster to make up for a pause."""
        before = None
        while before != self.length:
            before = self.length
            self.read(rate // 20)
            time.sleep(1 / 20)
        return self

    def finish(self):
        self.read(1 << 62)
        self.sha256 = self.digest.hexdigest()
        self.message = self.process.stderr.read().decode().strip()
        self.status = self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        self.seconds = time.monotonic() - self.began
        return self


class Case(unittest.TestCase):
    """A test with a folder, a site, networks and programs of its own. All are accounted for at its end."""

    link = "tap"

    def setUp(self):
        # Readable for a user without rights, whom some tests run as.
        self.folder = Path(tempfile.mkdtemp(dir=scratch))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        self.site = self.folder / "site"
        self.site.mkdir()
        (self.site / "index.html").write_text("<!doctype html><title>e2e</title><p>Hello.\n")

    def network(self, link=None):
        network = Network(link or self.link)
        self.addCleanup(network.delete)
        return network

    def program(self, name, *options, network=None, check_end=True, **more):
        if name == "httpd":
            more.setdefault("root", self.site)
        program = Program(name, network or self.network(), self.folder, options, **more)
        self.addCleanup(self._finish, program, check_end)
        return program

    def httpd(self, *options, **more):
        return self.program("httpd", *options, **more)

    def echo(self, *options, **more):
        return self.program("echo", *options, **more)

    def _finish(self, program, check_end):
        try:
            if check_end and not self.failed_already():
                program.stop()
        finally:
            if program in Program.alive:
                program.kill()

    def failed_already(self):
        return not self._outcome.success

    def download(self, program, path, *options, timeout=30):
        """Fetches to the end."""
        return Transfer(program.network, program.url(path), *options, timeout=timeout).finish()

    def fetch(self, program, path, sha256, size, *options, timeout=30):
        """Fetches, and asserts that every byte came."""
        got = self.download(program, path, *options, timeout=timeout)
        self.assertEqual((got.status, got.message), (0, ""), f"curl {path}: {got.length} bytes came")
        self.assertEqual(got.length, size, f"length of {path}")
        self.assertEqual(got.sha256, sha256, f"SHA-256 of {path}")
        return got

    def connect(self, program, port=None, timeout=10):
        """A TCP connection from the client's namespace."""
        connection = program.network.client.socket()
        self.addCleanup(connection.close)
        connection.settimeout(timeout)
        connection.connect((program.network.address, port or program.port))
        return connection

    def converse(self, connection, data):
        """Sends all and ends that direction, while reading to the end of the other. Returns what came back."""
        def send():
            # What goes wrong here shows in what comes back, or does not.
            with contextlib.suppress(OSError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        back = bytearray()
        try:
            while chunk := connection.recv(256 * KIB):
                back += chunk
        except OSError as error:
            raise AssertionError(f"after {len(back)} of {len(data)} bytes had come back: {error}") from None
        finally:
            connection.close()
            sender.join()
        return back

    def note(self, text):
        """A figure for the reader of the log."""
        self.notes = [*getattr(self, "notes", []), text]


def release_all():
    """Gives back what an interrupted run still holds."""
    for program in list(Program.alive):
        program.kill()
    for namespace in list(Namespace.alive.values()):
        namespace.delete()
