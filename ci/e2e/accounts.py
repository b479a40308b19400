"""What our programs take they give back; what they send they do not copy; a pool run dry costs time alone.

Every other test settles accounts too, at its end and at its program's. Here is what needs tests of its own.
"""

import random
import re
import signal
import threading
import time

from harness import FULL, KIB, MIB, Case, make_file

DESCRIPTORS = 512
SPARE_FRAMES = 64


class Copies(Case):
    """The packet path, by the counters of the server, on a port that takes attached segments."""

    def test_per_request(self):
        """wrk takes 16 KiB a request: the server copies no byte and allocates nothing, and attaches each body."""
        size = 16 * KIB
        make_file(self.site / "file", size)
        server = self.httpd()
        load = ("wrk", "-t", 1, "-c", 16, "-d", "1s", server.url("/file"))
        server.network.client.run(*load)
        before = server.report()
        text = server.network.client.run(*load).stdout
        after = server.report()
        requests = int(re.search(r"(\d+) requests in", text).group(1))
        self.assertGreater(requests, 100)
        self.assertEqual(after["copied_bytes"] - before["copied_bytes"], 0, "bytes copied on the packet path")
        attached = after["attached_bytes"] - before["attached_bytes"]
        self.assertGreaterEqual(attached, requests * size, "bytes attached")
        self.note(f"{requests} requests, {attached // requests} bytes attached each, none copied")
        if "allocations" in after:
            self.assertEqual(after["allocations"] - before["allocations"], 0, "allocations on the packet path")
        else:
            self.note("the report counts no allocations: those are not shown here")
        server.settle()


class SmallPool(Case):
    """A receive pool of the descriptors and 64 frames."""

    options = ("--descriptors", DESCRIPTORS, "--receive-frames", DESCRIPTORS + SPARE_FRAMES)
    seconds = 300

    def speed(self, server, data):
        """Bytes per second of one conversation alone."""
        connection = self.connect(server, timeout=20)
        began = time.monotonic()
        self.assertTrue(self.converse(connection, data) == data, "the bytes differ")
        return len(data) / (time.monotonic() - began)

    def test_echo(self):
        """Forty clients that send much and read late make the pool run dry: slow, nothing lost, then fast again."""
        server = self.echo(*self.options)
        data = random.Random(1).randbytes((32 if FULL else 8) * MIB)
        before = self.speed(server, data)
        connections = [self.connect(server, timeout=120) for _ in range(40)]
        for connection in connections:
            connection.setblocking(False)
        part, sent = data[: 2 * MIB], [0] * len(connections)
        # All send, and none reads, until no one can send any more.
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 0.5:
            for number, connection in enumerate(connections):
                try:
                    count = connection.send(part[sent[number] : sent[number] + 64 * KIB]) if sent[number] < len(part) else 0
                except BlockingIOError:
                    count = 0
                if count:
                    sent[number] += count
                    quiet_since = time.monotonic()
            time.sleep(0.001)
        self.assertTrue(server.is_running(), server.errors())
        faults = []

        def finish(number):
            connection = connections[number]
            connection.settimeout(60)
            try:
                # What was sent already comes back in front.
                back = self.converse(connection, part[sent[number] :])
                if back != part:
                    faults.append(f"connection {number}: {len(back)} of {len(part)} bytes came back, or others")
            except AssertionError as error:
                faults.append(f"connection {number}: {error}")

        threads = [threading.Thread(target=finish, args=(number,)) for number in range(len(connections))]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(faults, [])
        taken = time.monotonic() - began
        server.settle(seconds=30)
        # Eight megabytes take ten to forty milliseconds, of which others of the machine may take any part, and the machine is
        # at times half as fast as at others: what stays slow is slow each time beside one that was never dry.
        beside, fresh, after = self.echo(*self.options), 0, 0
        for _ in range(8):
            fresh, after = max(fresh, self.speed(beside, data)), max(after, self.speed(server, data))
            if after > fresh / 2:
                break
        self.note(
            f"alone {before / MIB:.0f} MiB/s, then {sum(sent) // MIB} MiB stuck and {taken:.1f} s for"
            f" {len(part) * len(connections) // MIB} MiB, alone again {after / MIB:.0f} MiB/s beside {fresh / MIB:.0f} of another"
        )
        self.assertGreater(after, fresh / 2, "bytes per second afterwards")
        server.settle(seconds=30)

    def test_httpd(self):
        """wrk with 1,000 connections on a pool of that size meets no error, and a download after it is whole."""
        sha256 = make_file(self.site / "file", 10 * MIB)
        # A reset that finds no frame is lost, and no one sends it again: such a connection is left by its server.
        server = self.httpd(*self.options, "--idle-within", "15s")
        text = server.network.client.run("wrk", "-t", 2, "-c", 1000, "-d", "3s", "--timeout", "20s", server.url(), timeout=90).stdout
        self.assertNotRegex(text, "Socket errors|Non-2xx")
        self.fetch(server, "/file", sha256, 10 * MIB)
        server.settle(seconds=60)


class Rest(Case):
    """What stays a while after a run, and then goes."""

    long = 62

    def test_after_a_minute(self):
        """After ab and wrk, and a minute later, all counts are those of the start: TIME-WAIT and timers too."""
        server = self.httpd()
        server.network.client.run("ab", "-q", "-n", 5000, "-c", 100, server.url())
        server.network.client.run("wrk", "-t", 2, "-c", 500, "-d", "1s", server.url())
        now = server.settle()
        self.note(f"at once: {now['time_wait']} in TIME-WAIT, {now['timers']} timers")
        server.settle(seconds=75, resting=True)


class Endings(Case):
    """However a program ends, nothing of it is left."""

    def leftovers(self, server):
        return sorted(server.network.host.links() - {"lo"}), server.network.host.processes()

    def test_signals(self):
        """SIGINT and SIGTERM end the server in order: status 0, a report, no TAP and no process left."""
        for sent in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(sent.name):
                server = self.httpd()
                self.fetch_index(server)
                self.assertEqual(server.end(sent), 0, server.errors())
                self.assertTrue(server.report_file.exists())
                self.assertEqual(self.leftovers(server), ([], []))

    def fetch_index(self, server):
        self.assertEqual(self.download(server, "/").status, 0)

    def test_kill(self):
        """SIGKILL ends it too: no TAP and no process is left, and the next start on the same name works."""
        server = self.httpd(check_end=False)
        self.fetch_index(server)
        server.kill()
        self.assertEqual(self.leftovers(server), ([], []))
        again = self.httpd(network=server.network)
        self.fetch_index(again)

    def test_many_starts(self):
        """Starts and stops one after the other on the same name all work."""
        network = self.network()
        for _ in range(10 if FULL else 3):
            server = self.httpd(network=network)
            self.fetch_index(server)
            server.stop()

    def test_open_connections(self):
        """SIGTERM with 100 idle connections open ends them, each in order, within the deadline."""
        server = self.httpd()
        connections = [self.connect(server) for _ in range(100)]
        for connection in connections:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: e2e\r\n\r\n")
            self.assertIn(b" 200 ", connection.recv(65536).splitlines()[0])
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for connection in connections:
            self.assertEqual(connection.recv(1), b"", "the end of an idle connection")
            connection.close()
        server.process.wait(10)
        self.note(f"it took {time.monotonic() - began:.1f} s")
