"""Devices other than TAP and AF_PACKET: AF_XDP on veth, and shared memory between two of our programs.

A device's queues and sizes are tested in `drivers`; here, programs use it.
"""

import contextlib
import re
import time
import types

from harness import KIB, MIB, Case, Namespace, alone, lanes_of, make_file, until
from lanes import steered
from loadgen import Loader


class AfXdp(Case):
    """httpd by way of AF_XDP on one end of a veth, Linux on the other."""

    def served(self, *options):
        sums = {size: make_file(self.site / str(size), size) for size in (64 * KIB, 10 * MIB)}
        network = self.network("veth")
        network.device = f"af_xdp:{network.host.name}"
        server = self.httpd(*options, network=network)
        for size, sha256 in sums.items():
            got = self.fetch(server, f"/{size}", sha256, size)
        for size in (56, 3000):
            done = network.client.run("ping", "-n", "-c", 3, "-l", 3, "-W", 5, "-s", size, network.address, check=False)
            self.assertIn("3 received, 0% packet loss", done.stdout)
        text = network.client.run("wrk", "-t", 2, "-c", 200, "-d", "2s", "--timeout", "10s", server.url(), timeout=60).stdout
        self.assertNotRegex(text, "Socket errors|Non-2xx")
        rate = float(re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE).group(1))
        until(lambda: server.report()["flows"] == 0, 20, "end of wrk's connections")
        # The driver takes frames that were sent back when it next sends.
        for _ in range(3):
            self.assertEqual(self.download(server, "/").status, 0)
        report = server.settle(seconds=30)
        accepted = [lane["tcp"]["accepted"] for lane in lanes_of(report)]
        self.note(f"{rate:.0f} requests/s, 10 MiB in {got.seconds:.2f} s, lanes accepted {accepted}, {steered(report)}")
        return accepted

    def test_one_lane(self):
        """One lane serves wrk, downloads and ping."""
        self.served("--lanes", 1)

    def test_two_lanes(self):
        """Two lanes share AF_XDP's one queue: the same, and each accepts at least a quarter."""
        accepted = self.served("--lanes", 2, "--queues", 1)
        self.assertGreaterEqual(min(accepted), sum(accepted) / 4, accepted)


@alone
class Memif(Case):
    """httpd and loadgen, two processes that share memory and no kernel's link."""

    server_address, client_address = "10.77.0.2", "10.77.0.1"

    def server(self, *options):
        """httpd as the server of the link, too."""
        self.socket = self.folder / "memif.sock"
        return self.httpd(*options, network=self.end("server", self.server_address))

    def end(self, role, address):
        """One end of the link, as a network."""
        host = Namespace()
        self.addCleanup(host.delete)
        return types.SimpleNamespace(kind="memif", device=f"memif:{role},{self.socket}", address=address, host=host)

    def client(self, server, *options):
        loader = Loader(self.end("client", self.client_address), server.url(), "--wait", "20s", *options)
        self.addCleanup(loader.process.kill)
        return loader

    def good(self, loader, requests=1000):
        results = loader.finish().results
        self.assertEqual((loader.status, results["errors"]), (0, 0), f"{results} {loader.errors}")
        self.assertGreater(results["requests"], requests)
        self.note(
            f"{results['requests_per_second']:.0f} requests/s, latency p50 {results['latency_ns']['p50'] / 1e3:.0f} us, "
            f"p99 {results['latency_ns']['p99'] / 1e3:.0f} us"
        )

    def test_load(self):
        """loadgen loads httpd with 64 connections, twice in a row, and meets no error."""
        server = self.server()
        for _ in range(2):
            self.good(self.client(server, "--connections", 64, "--duration", "2s"))
        server.settle(seconds=30)

    def test_one_way(self):
        """loadgen uploads to an echo that drops what comes, and downloads from one that sends without end: no error."""
        for options, words in (("--discard",), ("--upload", 4096, "--pipeline", 64)), (("--generate", 4096), ("--download",)):
            self.socket = self.folder / f"memif{len(words)}.sock"
            server = self.echo(*options, network=self.end("server", self.server_address))
            target = f"{self.server_address}:{server.port}"
            words = ("--wait", "20s", "--connections", 4, "--duration", "2s", *words)
            loader = Loader(self.end("client", self.client_address), target, *words)
            self.addCleanup(loader.process.kill)
            # Of a download 64 KiB are one.
            self.good(loader, requests=50)
            server.settle(seconds=30)

    def test_two_lanes(self):
        """httpd shares the link's one queue between two lanes, loadgen as well, and there is no error."""
        server = self.server("--lanes", 2, "--queues", 1)
        self.good(self.client(server, "--connections", 64, "--duration", "2s", "--lanes", 2, "--queues", 1))
        report = server.settle(seconds=30)
        self.note(f"httpd: {steered(report)}")

    @contextlib.contextmanager
    def told(self, server, what):
        """By the end of the `with`, httpd has said once more that the link `what`. It looks four times a second."""
        before = server.errors().count(what)
        yield
        until(lambda: server.errors().count(what) > before, 5, f"word that the link {what}")

    def killed(self, server):
        """Kills loadgen in mid-load."""
        accepted = server.report()["tcp"]["accepted"]
        with self.told(server, " is up"):
            loader = self.client(server, "--connections", 64, "--duration", "1m")
        until(lambda: server.report()["tcp"]["accepted"] >= accepted + 64, 20, "load")
        time.sleep(0.2)
        with self.told(server, " is down"):
            loader.process.kill()
            loader.process.communicate()

    def test_peer_killed(self):
        """loadgen is killed in mid-load: httpd says that the link is down, lives on, and serves the next at once."""
        server = self.server()
        for _ in range(2):
            self.killed(server)
            with self.told(server, " is down"):
                self.good(self.client(server, "--connections", 64, "--duration", "1s"))
        # What the killed have left is found out by retransmissions alone, which takes minutes.
        self.assertEqual(server.report()["half_open"], 0)

    def test_stopped_without_peer(self):
        """Told to stop when nobody takes its last words, httpd ends in its time and keeps nothing."""
        server = self.server("--stop-within", "1s")
        self.killed(server)
        began = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - began, 5)
