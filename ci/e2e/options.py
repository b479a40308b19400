"""The options that say where a lane runs and how: its gateway, its core, whether it sleeps, and DPDK's own words.

What is refused is in `mistakes.py`, and the VLAN in `vlan.py`.
"""

import json
import os
import socket
import time
from pathlib import Path

from harness import KIB, MIB, Case, Namespace, alone, make_file, run


class Gateway:
    """A client in a network of its own, which reaches the lane through a router: the usual client's namespace."""

    far_address = "10.78.0.2"
    router_address = "10.78.0.1"

    def routed(self, *options):
        """A server, and a client behind a router, where the server's network is known."""
        network = self.network()
        far = Namespace()
        self.addCleanup(far.delete)
        router = network.client
        router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        run(*f"ip -n {router.name} link add far0 type veth peer name near0 netns {far.name}".split())
        for namespace, name, address in ((router, "far0", self.router_address), (far, "near0", self.far_address)):
            run("ip", "-n", namespace.name, "address", "add", f"{address}/24", "dev", name)
            run("ip", "-n", namespace.name, "link", "set", name, "up")
        run("ip", "-n", far.name, "route", "add", "default", "via", self.router_address)
        return self.httpd(*options, network=network), far

    def test_gateway(self):
        """A client two hops away fetches files of 1 byte to 4 MiB, pings in fragments, and sees the router between."""
        sums = {size: make_file(self.site / str(size), size) for size in (1, 64 * KIB, 4 * MIB)}
        server, far = self.routed("--gateway", "10.77.0.1")
        for size, sha256 in sums.items():
            got = far.run("curl", "-fsS", "--max-time", 20, "-o", self.folder / "got", server.url(f"/{size}"))
            self.assertEqual(got.stderr, "")
            self.assertEqual(run("sha256sum", self.folder / "got").stdout.split()[0], sha256, f"SHA-256 of /{size}")
        pings = far.run("ping", "-n", "-c", 3, "-l", 3, "-W", 3, "-s", 3000, server.network.address, check=False)
        self.assertRegex(pings.stdout, "3 received, 0% packet loss")
        route = far.run("traceroute", "-n", "-q", 1, "-m", 4, "-w", 3, "-I", server.network.address).stdout
        self.assertEqual([line.split()[1] for line in route.splitlines()[1:]], [self.router_address, server.network.address], route)
        # The neighbour is still reached without the router.
        self.fetch(server, "/1", sums[1], 1)
        server.settle()

    def test_no_gateway(self):
        """Without a gateway a client two hops away is not answered, and the neighbour is."""
        server, far = self.routed()
        done = far.run("ping", "-n", "-c", 2, "-i", 0.1, "-W", 0.5, server.network.address, check=False)
        self.assertIn(" 0 received", done.stdout)
        done = far.run("curl", "-sS", "--connect-timeout", 0.5, server.url(), check=False)
        self.assertEqual(done.returncode, 28, done.stderr)
        self.assertEqual(self.download(server, "/").status, 0)


class GatewayOnTap(Gateway, Case):
    link = "tap"


class GatewayOnAfPacket(Gateway, Case):
    link = "veth"


class Core(Case):
    """Where the lane runs, and for how long."""

    def test_core(self):
        """With --core the lane's thread may run on that core alone, and it is the thread that does the work."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            self.skipTest("a single core: there is nothing to choose")
        make_file(self.site / "file", 16 * MIB)
        for core in (cores[0], cores[-1]):
            with self.subTest(core=core):
                server = self.httpd("--core", core)
                self.assertEqual(server.lane().cpus, str(core))
                # What comes from the disk is another thread's work.
                self.assertEqual(self.download(server, "/file").status, 0)
                before = server.threads()
                self.assertEqual(self.download(server, "/file").status, 0)
                worked = {after.name: after.seconds - was.seconds for was, after in zip(before, server.threads(), strict=True)}
                self.assertEqual(max(worked, key=worked.get), server.lane().name, worked)
                self.assertEqual(server.lane().cpus, str(core))
                server.settle()

    def test_no_core(self):
        """Without --core the lane's thread may run wherever this process may."""
        mine = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Cpus_allowed_list"))
        self.assertEqual(self.httpd().lane().cpus, mine.split("\t")[1])

    @alone
    def test_poll(self):
        """With --poll an idle lane never sleeps; without it, it sleeps most of the time."""
        polling, sleeping = self.httpd("--poll"), self.httpd()
        began, before = time.monotonic(), (polling.lane(), sleeping.lane())
        time.sleep(2)
        after, seconds = (polling.lane(), sleeping.lane()), time.monotonic() - began
        slept = [now.sleeps - was.sleeps for was, now in zip(before, after)]
        used = [now.seconds - was.seconds for was, now in zip(before, after)]
        self.note(
            f"in {seconds:.1f} s idle: {used[0]:.2f} s of a core and {slept[0]} sleeps with --poll,"
            f" {used[1]:.2f} s and {slept[1]} without"
        )
        # How much of a core either gets depends on what else the machine does; who sleeps does not.
        self.assertLess(slept[0], 10, "sleeps of a lane that is to poll")
        self.assertGreater(slept[1], 20, "sleeps of an idle lane")
        self.assertGreater(used[0], 1.5 * used[1], "processor time of a lane that polls, and of one that need not")
        for server in (polling, sleeping):
            self.assertEqual(self.download(server, "/").status, 0)


class Telemetry:
    """What DPDK itself tells, under a file prefix, of the process that has it."""

    folder = Path("/var/run/dpdk")

    def __init__(self, prefix):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(5)
        self.socket.connect(str(self.folder / prefix / "dpdk_telemetry.v2"))
        self.process = json.loads(self.socket.recv(64 * KIB))["pid"]

    def ask(self, command):
        self.socket.send(command.encode())
        return json.loads(self.socket.recv(64 * KIB))[command.split(",")[0]]


class Eal(Case):
    """Words for DPDK, in front of `--`."""

    def prefix(self):
        prefix = f"corelane-e2e-{os.getpid()}"

        def remove():
            # DPDK leaves its empty folder.
            if (Telemetry.folder / prefix).is_dir():
                (Telemetry.folder / prefix).rmdir()

        self.addCleanup(remove)
        return prefix

    @alone
    def test_memory_and_prefix(self):
        """DPDK gets --no-huge, -m and --file-prefix: it says so itself, and has just that memory."""
        sha256 = make_file(self.site / "file", MIB)
        prefix = self.prefix()
        words = ["--no-huge", "-m", "512", f"--file-prefix={prefix}"]
        server = self.httpd(eal=words, huge_pages=True, network=self.network("net_tap"))
        telemetry = Telemetry(prefix)
        self.addCleanup(telemetry.socket.close)
        self.assertEqual(telemetry.ask("/eal/params")[-len(words):], words)
        heaps = [telemetry.ask(f"/eal/heap_info,{heap}") for heap in telemetry.ask("/eal/heap_list")]
        self.assertEqual(sum(heap["Heap_size"] for heap in heaps), 512 * MIB, heaps)
        self.assertEqual(len(telemetry.ask("/ethdev/list")), 1, "ports")
        self.fetch(server, "/file", sha256, MIB)
        server.settle()

    def test_lcore(self):
        """With -l DPDK's own thread runs on that core."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            self.skipTest("a single core: there is nothing to choose")
        for core in (cores[0], cores[-1]):
            with self.subTest(core=core):
                server = self.httpd(eal=["-l", core])
                main = next(thread for thread in server.threads() if thread.name == "httpd")
                self.assertEqual(main.cpus, str(core))
                self.assertEqual(self.download(server, "/").status, 0)

    def test_log_level(self):
        """With --log-level and --verbose the reader sees just what DPDK was asked to say."""
        for level, told in (("debug", True), ("error", False)):
            with self.subTest(level):
                server = self.httpd("--verbose", eal=[f"--log-level=lib.eal:{level}"])
                self.assertEqual("EAL: Detected lcore" in server.errors(), told, server.errors()[:2000])
