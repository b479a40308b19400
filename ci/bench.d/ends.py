"""What is measured: servers and clients, ours with a core a side, Linux's where the kernel places them."""

import json
import re
import select
import shutil
import subprocess
import tempfile
import types
from pathlib import Path

import harness
from harness import HUGE_PAGES, Namespace, Network, Program, no_huge_words, run, start_nginx, until
from machine import CLIENT_CORE, SERVER_CORE, Watch, processor_seconds, whereabouts

SERVER_ADDRESS, CLIENT_ADDRESS = "10.77.0.2", "10.77.0.1"
# Connections of our client come from these: one address has 28,000 ports, and each rests a minute after its connection. More
# would cost it a longer look at each address.
SOURCES = "10.77.0.10-10.77.0.25"
START_SECONDS, SPARE_SECONDS = 20, 20


class Trouble(Exception):
    """A contestant could not be measured; the text says why, in a line."""


class Contestant:
    """Something that serves while its `with` lasts, and is loaded in runs."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="corelane-bench."))
        self.folder.chmod(0o755)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def cpu_list(words, core):
    return ["taskset", "-c", str(core), *map(str, words)]


def reaped(process):
    """Ends a process that is ours and waits for it."""
    if process and process.poll() is None:
        process.kill()
    if process:
        process.wait()


class Ending:
    """How our servers end: at once, or in order where what they have counted is wanted, which they write at their end."""

    gently = False

    @classmethod
    def of(cls, program):
        if cls.gently:
            try:
                return program.end()
            except AssertionError:
                pass
        return program.kill()


class OursOnMemif(Contestant):
    """`echo` and `loadgen`, two processes that share memory, both polling."""

    name = "corelane on memif"

    def __init__(self, *server_options):
        self.options = [*server_options, "--poll", "--core", SERVER_CORE]

    def start(self):
        self.server = self.hosts = None
        self.hosts = [Namespace(), Namespace()]
        self.socket = self.folder / "memif.sock"
        network = types.SimpleNamespace(
            kind="memif", device=f"memif:server,{self.socket}", address=SERVER_ADDRESS, host=self.hosts[0])
        self.server = Program("echo", network, self.folder, self.options, huge_pages=HUGE_PAGES)

    def end(self):
        if self.server:
            Ending.of(self.server)
        for host in self.hosts or ():
            host.delete()

    def load(self, words, seconds, server_pid):
        """Loads what is at the server's end with such words for `loadgen`: what that found, and the watch."""
        report = self.folder / "client.json"
        command = [harness.programs / "loadgen", f"{SERVER_ADDRESS}:7", "--device", f"memif:client,{self.socket}"]
        command += ["--address", f"{CLIENT_ADDRESS}/24", "--poll", "--core", CLIENT_CORE, "--wait", "10s", "--json", "-"]
        command += ["--allow-errors", "--json-report", report, "--duration", f"{seconds}s", *words]
        command += [] if HUGE_PAGES else no_huge_words(words)
        client = self.hosts[1].start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        found, watch = finish(client, {"server": server_pid, "client": client.pid}, seconds)
        found["busy_seconds"] = {"client": json.loads(report.read_text())["turns"]["busy_ns"] / 1e9}
        return found, watch

    def run(self, words, seconds):
        """Loads the server, and counts both sides' time."""
        before = self.server.report()["turns"]
        found, watch = self.load(words, seconds, self.server.process.pid)
        after = self.server.report()["turns"]
        busy = {"server": (after["busy_ns"] - before["busy_ns"]) / 1e9, **found["busy_seconds"]}
        # Turns are timed by the clock: what others took of a core meanwhile is in the busy ones by their share.
        found["busy_seconds"] = {name: seconds * watch.ran_of_asked(name) for name, seconds in busy.items()}
        return found, watch


class ResponderOnMemif(OursOnMemif):
    """`loadgen` on shared memory with what sends back every segment and is no server."""

    def start(self):
        self.server = None
        self.hosts = [Namespace(), Namespace()]
        self.socket = self.folder / "memif.sock"
        words = [harness.programs / "responder", "--device", f"memif:server,{self.socket}", "--address", SERVER_ADDRESS]
        self.process = started(self.hosts[0], words)

    def end(self):
        reaped(getattr(self, "process", None))
        super().end()

    def run(self, words, seconds):
        return self.load(words, seconds, self.process.pid)


class FloodOnMemif(Contestant):
    """Full frames from one process to another over shared memory, written, carried and dropped: what the link itself takes."""

    name = "bare frames on memif"
    FRAME, PAYLOAD = 1514, 1448

    def start(self):
        self.hosts = [Namespace(), Namespace()]

    def end(self):
        for host in self.hosts:
            host.delete()

    def expect(self, process, word):
        """The next line that an end prints, with this word in it."""
        ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        line = process.stdout.readline() if ready else ""
        if word not in line:
            reaped(process)
            raise Trouble(process.stderr.read().strip()[-200:] or f"bare frames did not tell: {word}")
        return line

    def run(self, _words, seconds):
        """One way for so long, with a receiver and a sender of its own."""
        socket, ends, seconds = self.folder / "memif.sock", [], max(int(seconds), 1)
        sides = (("server", SERVER_CORE, []), ("client", CLIENT_CORE, ["--send", self.FRAME]))
        try:
            for (role, core, words), host in zip(sides, self.hosts):
                command = [harness.programs / "flood", "--device", f"memif:{role},{socket}", "--seconds", seconds, *words]
                command += ["--hold", "--core", core, *([] if HUGE_PAGES else ["--no-huge"])]
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
                ends.append(host.start(*map(str, command), **pipes, text=True))
                self.expect(ends[-1], "ready")
            for process in ends:
                self.expect(process, "moving")
            # The device's own thread in each waits for a core meanwhile, for nothing that matters: who waits is not told apart.
            watch = Watch({"server": ends[0].pid, "client": ends[1].pid}, own_cores=False)
            told = {name: json.loads(self.expect(process, "frames")) for name, process in zip(("server", "client"), ends)}
            # While both are there to be looked at.
            watch.look()
        finally:
            for process in ends:
                reaped(process)
        frames = told["server"]["frames"]
        return {
            "sent_bytes_per_second": frames * self.PAYLOAD / seconds, "seconds": seconds, "requests": frames, "errors": 0,
            "busy_seconds": {name: found["busy_ns"] / 1e9 for name, found in told.items()},
        }, watch


class EpollOnVeth(Contestant):
    """An echo server and its client on Linux's TCP, in two namespaces with a veth between, all its offloads on.

    Where they run is the kernel's choice: on a core each, one connection would wait for six times as long, and cost as much.
    """

    name = "Linux epoll on veth"

    def __init__(self, *server_options):
        self.options = server_options

    def start(self):
        self.server, self.hosts = None, [Namespace(), Namespace()]
        server, client = self.hosts
        run(*f"ip -n {client.name} link add {client.name} type veth peer name {server.name} netns {server.name}".split())
        for host, address in ((server, SERVER_ADDRESS), (client, CLIENT_ADDRESS)):
            run("ip", "-n", host.name, "address", "add", f"{address}/24", "dev", host.name)
            run("ip", "-n", host.name, "link", "set", host.name, "up")
        # Ports in TIME-WAIT come to use again after a second: else a connection each runs out of them.
        client.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse; echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range")
        server.run("sh", "-c", "echo 4096 >/proc/sys/net/core/somaxconn", check=False)
        words = [harness.programs / "epoll", "serve", f"{SERVER_ADDRESS}:7", *self.options]
        self.server = server.start(*words, stdout=subprocess.PIPE, text=True)
        if "listening" not in self.server.stdout.readline():
            raise Trouble("the epoll server did not start")

    def end(self):
        reaped(self.server)
        for host in self.hosts:
            host.delete()

    def run(self, words, seconds):
        """Loads it with such words for `epoll load`."""
        command = [harness.programs / "epoll", "load", f"{SERVER_ADDRESS}:7", "--duration", seconds, *words]
        client = self.hosts[1].start(*map(str, command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = client.stderr.readline()
        if line != "begins\n":
            reaped(client)
            raise Trouble(line.strip() or "the epoll client did not begin")
        before = processor_seconds(self.server.pid)[0]
        found, watch = finish(client, {"server": self.server.pid, "client": client.pid}, seconds, own_cores=False)
        used = processor_seconds(self.server.pid)[0] - before
        found["busy_seconds"] = {"server": used, "client": found["processor_seconds"]}
        return found, watch


def latencies(found):
    """Percentiles of what a client found, as they go into a line of JSON."""
    known = found["latency_ns"]
    return {"unit": "ns", **{name: known[name] for name in ("p10", "p50", "p90", "p99") if name in known}}


def finish(client, pids, seconds, own_cores=True):
    """Waits for a client of ours or of Linux's, and reads the JSON that it prints."""
    watch = Watch(pids, own_cores)
    try:
        if not watch.until_ended(client, seconds + START_SECONDS + SPARE_SECONDS):
            raise Trouble(f"the client did not end: {whereabouts(client.pid)}")
        out, errors = client.communicate()
        if client.returncode != 0:
            raise Trouble(f"the client ended with {client.returncode}: {errors.strip().splitlines()[-1:]}")
        return json.loads(out), watch
    finally:
        reaped(client)


class WebServer(Contestant):
    """A web server on one end of a link, `wrk` in Linux on the other."""

    own_cores = True

    def __init__(self, site):
        self.site = site

    def start(self):
        self.process = self.network = self.program = None
        self.network = Network(self.link)
        self.begin()
        words = ("curl", "-so", "/dev/null", "--max-time", 2, self.url("/"))
        until(lambda: self.network.client.run(*words, check=False).returncode == 0, 10, self.name)

    def end(self):
        if self.program:
            Ending.of(self.program)
        reaped(self.process)
        if self.network:
            self.network.delete()

    def url(self, path):
        return f"http://{self.network.address}{path}"

    def resident_mib(self):
        """The most memory that the server has had resident, huge pages not among it."""
        pid = (self.program.process if self.program else self.process).pid
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()).group(1)) // 1024

    def run(self, path, connections, close, seconds):
        """Loads it with wrk; returns what wrk found and the watch."""
        words = ["wrk", "-t", 1, "-c", connections, "-d", f"{seconds}s", "--latency", "--timeout", "2s"]
        words += ["-H", "Connection: close"] if close else []
        words = [*map(str, words), self.url(path)]
        words = cpu_list(words, CLIENT_CORE) if self.own_cores else words
        client = self.network.client.start(*words, stdout=subprocess.PIPE, text=True)
        pid = (self.program.process if self.program else self.process).pid
        before = processor_seconds(pid)[0]
        watch = Watch({"server": pid, "client": client.pid}, self.own_cores)
        try:
            if not watch.until_ended(client, seconds + SPARE_SECONDS):
                raise Trouble("wrk did not end")
            text = client.communicate()[0]
        finally:
            reaped(client)
        found = of_wrk(text)
        found["server_seconds"] = processor_seconds(pid)[0] - before
        return found, watch


class Httpd(WebServer):
    """Our `httpd`, with what it does by itself."""

    def __init__(self, site, name, link, device=None):
        super().__init__(site)
        self.name, self.link, self.device = name, link, device

    def begin(self):
        if self.device:
            self.network.device = f"{self.device}:{self.network.host.name}"
        options = ("--core", SERVER_CORE)
        self.program = Program("httpd", self.network, self.folder, options, root=self.site, huge_pages=HUGE_PAGES)


class Responder(WebServer):
    """What turns frames round on a link and is no server: the link's and the client's own ceiling."""

    def __init__(self, site, name, link, device=None, close=False):
        super().__init__(site)
        self.name, self.link, self.device, self.close = name, link, device, close

    def begin(self):
        network = self.network
        if self.device:
            network.device = f"{self.device}:{network.host.name}"
        words = [harness.programs / "responder", "--device", network.device, "--address", network.address, "--page", 64]
        words += ["--close"] if self.close else []
        self.process = started(network.host, words)
        if network.kind == "tap":
            network.join()


def started(host, words):
    """A bare responder that answers."""
    words = [*words, *([] if HUGE_PAGES else ["--no-huge"])]
    process = host.start(*cpu_list(words, SERVER_CORE), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if "answering" not in process.stdout.readline():
        reaped(process)
        raise Trouble(process.stderr.read().strip()[-200:] or "the bare responder did not start")
    return process


class Nginx(WebServer):
    """nginx with one worker. Where it and its client run is the kernel's choice, which suits one connection best."""

    name, link, own_cores = "nginx on veth", "veth", False

    def begin(self):
        host = self.network.host
        run("ip", "-n", host.name, "address", "add", f"{self.network.address}/24", "dev", host.name)
        self.process = start_nginx(host, self.folder, self.site, 8192, "sendfile on; tcp_nopush on;")


def of_wrk(text):
    """What wrk says, with times in microseconds."""
    units = {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6}
    at = {name: float(value) * units[unit] for name, value, unit in re.findall(r"^ +(\d+)% +([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)}
    count = re.search(r"(\d+) requests in", text)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE)
    if not (count and rate and at):
        raise Trouble(f"wrk told nothing: {text.strip()[-200:]}")
    errors = re.search("(Socket errors.*|Non-2xx.*)", text)
    return {
        "requests": int(count.group(1)), "requests_per_second": float(rate.group(1)),
        "p50_us": at["50"], "p99_us": at["99"], "errors": errors.group(1) if errors else None,
    }
