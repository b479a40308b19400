"""Two lanes that are told to stop, or killed, under load; and links that go down and come back in mid-transfer.

What a program gives back however it ends is in `accounts.py`.
"""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from pathlib import Path

from harness import HUGE_PAGES, MIB, Case, Transfer, alone, make_file, until

SIZE = 10 * MIB
DOWNLOADS = 6
# Bytes a second: faster than the deadline of a stop needs, and slow enough to be caught in the middle.
RATE = 2_500_000
STOP_WITHIN_SECONDS = 5
DOWN_SECONDS = 1
# Of a report, what connections hold. Listeners are sockets too.
LEFT = ("flows", "half_open", "held_frames", "lent", "claims")


def tcp_counts(network):
    """The client's kernel's own counters of TCP."""
    lines = network.client.run("cat", "/proc/net/snmp").stdout.splitlines()
    names, values = (line.split()[1:] for line in lines if line.startswith("Tcp:"))
    return dict(zip(names, map(int, values)))


class Ends:
    """The same on each kind of link."""

    long = 22
    options = ("--lanes", 2)

    def load(self, server, connections=200):
        """wrk, until it is stopped or the test ends."""
        process = server.network.client.start(
            "wrk", "-t", 2, "-c", connections, "-d", "120s", server.url(),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        until(lambda: server.report()["flows"] >= connections, 10, "load")
        return process

    def downloads(self, server, rate=RATE):
        """Downloads that are under way, each to be read by a thread; their SHA-256 is to be the file's."""
        found = [Transfer(server.network, server.url("/file")) for _ in range(DOWNLOADS)]
        for transfer in found:
            transfer.read(SIZE // 20)
        # curl's own limit is of the average: after a pause it catches up at once.
        return found, [threading.Thread(target=lambda it=it: it.read_at(rate).finish()) for it in found]

    @staticmethod
    def go_on(threads):
        """Has the rest of the downloads read. Until then they stay in the middle, however long that is."""
        for thread in threads:
            thread.start()

    def test_terminate(self):
        """SIGTERM under load: downloads under way come whole, wrk's connections end, within the deadline."""
        sha256 = make_file(self.site / "file", SIZE)
        server = self.httpd(*self.options)
        load = self.load(server)
        # They go on only once it has been told to stop: a third of the deadline is enough for them.
        transfers, threads = self.downloads(server, 6_000_000)
        report = server.report()
        lanes = [lane["flows"] for lane in report["lanes_each"]]
        before = tcp_counts(server.network)["EstabResets"]
        self.assertLess(report["attached_bytes"], SIZE * DOWNLOADS, "bytes sent when it was told to stop")
        self.go_on(threads)
        began = time.monotonic()
        status = server.end(signal.SIGTERM)
        taken = time.monotonic() - began
        for thread in threads:
            thread.join()
        load.send_signal(signal.SIGINT)
        said = load.communicate(timeout=10)[0]
        self.assertEqual(status, 0, server.errors())
        self.assertLess(taken, STOP_WITHIN_SECONDS + 1, "seconds until it had stopped")
        for number, transfer in enumerate(transfers):
            ended = transfer.status, transfer.message, transfer.length, transfer.sha256
            self.assertEqual(ended, (0, "", SIZE, sha256), f"download {number}")
        # That no answer was cut, or refused.
        self.assertNotIn("Non-2xx", said)
        timeouts = re.search(r"timeout (\d+)", said)
        self.assertIn(timeouts and timeouts.group(1), (None, "0"), said)
        resets = tcp_counts(server.network)["EstabResets"] - before
        self.note(
            f"flows of the lanes {lanes}; stopped after {taken:.1f} s, with {DOWNLOADS} downloads;"
            f" {resets} of wrk's 200 connections were reset"
        )

    def test_late_request(self):
        """A request that crosses the end of an idle connection, when the server stops, meets no reset."""
        server = self.httpd(*self.options)
        request = b"GET / HTTP/1.1\r\nHost: e2e\r\n\r\n"
        connections = [self.connect(server) for _ in range(16)]
        for connection in connections:
            connection.sendall(request)
            self.assertIn(b" 200 ", connection.recv(MIB).splitlines()[0])
        server.process.send_signal(signal.SIGTERM)
        for connection in connections:
            # Its FIN is here, and the client has not looked at it.
            self.assertTrue(select.select([connection], [], [], 5)[0], "no end of an idle connection")
            connection.sendall(request)
        for connection in connections:
            self.assertEqual(connection.recv(1), b"")
            connection.close()
        self.assertEqual(server.end(), 0)
        report = json.loads(server.report_file.read_text())
        self.assertEqual(report["tcp"]["resets_sent"], 0, "resets that the server has sent")

    def test_deadline(self):
        """SIGTERM with eight clients that read nothing: at the deadline each is reset, and the program ends in order."""
        make_file(self.site / "file", SIZE)
        server = self.httpd(*self.options)
        connections = [self.connect(server) for _ in range(8)]
        for connection in connections:
            connection.sendall(b"GET /file HTTP/1.1\r\nHost: e2e\r\n\r\n")
        until(lambda: server.report()["lent"] >= len(connections), 5, "answers under way")
        began = time.monotonic()
        self.assertEqual(server.end(signal.SIGTERM), 0, server.errors())
        taken = time.monotonic() - began
        self.assertTrue(STOP_WITHIN_SECONDS - 0.5 < taken < STOP_WITHIN_SECONDS + 1, f"it stopped after {taken:.1f} s")
        for connection in connections:
            with self.assertRaises(ConnectionResetError):
                while connection.recv(MIB):
                    pass
        self.note(f"stopped after {taken:.1f} s")

    def test_kill(self):
        """SIGKILL under load, twice: the next start on the same interface serves at once, the old clients in its way."""
        sha256 = make_file(self.site / "file", SIZE)
        network = self.network()
        for _ in range(2):
            server = self.httpd(*self.options, network=network, check_end=False)
            load = self.load(server)
            transfers, threads = self.downloads(server)
            self.go_on(threads)
            server.kill()
            again = self.again(network, sha256)
            # These would wait: their server sends nothing more, and its successor does not know of them.
            for transfer in transfers:
                transfer.process.kill()
            for thread in threads:
                thread.join()
            self.rest(again, load)

    def again(self, network, sha256, **more):
        """A start, with clients of the server before still there, and a download at once."""
        began = time.monotonic()
        server = self.httpd(*self.options, network=network, check_end=False, **more)
        started = time.monotonic() - began
        got = self.fetch(server, "/file", sha256, SIZE)
        self.note(f"started again in {started:.1f} s, 10 MiB after {got.seconds:.1f} s")
        return server

    def rest(self, server, load):
        """Once the load has gone, nothing of it is left, and the server ends in order."""
        load.kill()
        load.wait()

        def left():
            report = server.report()
            return {name: report[name] for name in LEFT if report[name]}

        until(lambda: not left(), 30, lambda: f"end of what the load held: {left()}")
        self.assertEqual(server.end(), 0, server.errors())

    def huge_files(self):
        return set(os.listdir("/dev/hugepages")) if Path("/dev/hugepages").is_dir() else set()

    @alone
    def test_kill_huge_pages(self):
        """SIGKILL with huge pages leaves no file in them; under a file prefix, the next start of it takes over."""
        if not HUGE_PAGES:
            self.skipTest("no huge pages here")
        sha256 = make_file(self.site / "file", SIZE)
        network = self.network()
        prefix = f"corelane-e2e-{os.getpid()}"

        def files():
            return {name for name in self.huge_files() if name.startswith(prefix)}

        def remove():
            for name in files():
                os.unlink(Path("/dev/hugepages") / name)
            for file in (Path("/var/run/dpdk") / prefix).glob("*"):
                file.unlink()
            with contextlib.suppress(FileNotFoundError):
                (Path("/var/run/dpdk") / prefix).rmdir()

        self.addCleanup(remove)
        for eal in ([], [f"--file-prefix={prefix}"]):
            with self.subTest(eal=eal):
                counts = []
                before = self.huge_files()
                for _ in range(2):
                    server = self.httpd(*self.options, network=network, eal=eal, check_end=False)
                    load = self.load(server, 50)
                    server.kill()
                    counts.append(len(files()))
                    load.kill()
                if not eal:
                    self.assertEqual(self.huge_files() - before, set(), "files in huge pages")
                # Each start clears what the one before has left: it does not add up.
                self.assertLessEqual(counts[1], counts[0], "files in huge pages after each kill")
                self.rest(self.again(network, sha256, eal=eal), load)
                self.note(f"{' '.join(eal) or 'in memory'}: {counts} files after each kill")

    def test_link(self):
        """The link goes down for a second in mid-transfer: both lanes' downloads go on and come whole; both is told."""
        sha256 = make_file(self.site / "file", SIZE)
        server = self.httpd(*self.options)
        transfers, threads = self.downloads(server)
        self.go_on(threads)
        network = server.network
        lengths = [transfer.length for transfer in transfers]
        network.client.run("ip", "link", "set", network.interface, "down")
        began = time.monotonic()
        until(lambda: " is down" in server.errors(), 5, "word of the link that is down")
        told = time.monotonic() - began
        time.sleep(max(0, DOWN_SECONDS - told))
        flows = [lane["flows"] for lane in server.report()["lanes_each"]]
        network.client.run("ip", "link", "set", network.interface, "up")
        began = time.monotonic()
        until(lambda: " is up" in server.errors(), 5, "word of the link that is up")
        back = time.monotonic() - began
        for thread in threads:
            thread.join()
        for number, transfer in enumerate(transfers):
            ended = transfer.status, transfer.message, transfer.length, transfer.sha256
            self.assertEqual(ended, (0, "", SIZE, sha256), f"download {number}")
        self.assertLess(max(lengths), SIZE, "bytes of the furthest download when the link went")
        self.assertEqual(sum(flows), DOWNLOADS, "flows while the link was down")
        self.note(
            f"told after {told:.2f} s and {back:.2f} s; flows of the lanes meanwhile {flows};"
            f" downloads took {min(t.seconds for t in transfers):.1f} to {max(t.seconds for t in transfers):.1f} s"
        )
        server.settle(seconds=30)


class Tap(Ends, Case):
    link = "tap"


class AfPacket(Ends, Case):
    link = "veth"
