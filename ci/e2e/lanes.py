"""Two lanes: each takes its share, whichever queue a frame arrives on, with as many queues and threads or with fewer.

How several lanes end is in `stop.py`.
"""

import errno
import json
import re
import select
import shlex
import socket
import subprocess
import time

from harness import KIB, MIB, Case, alone, lanes_of, make_file, run, until
from loadgen import CONNECTIONS, Loader, Nginx

# Frames of many sources reach both queues.
SOURCES = [f"10.77.0.{number}" for number in range(11, 19)]
IDLE_SECONDS = 3
# Of a core, for each lane.
IDLE_SHARE_MAX = 0.02


def arrivals(report):
    """Frames that each lane's own queue has received."""
    return [lane["frames"]["received"] for lane in lanes_of(report)]


def steered(report):
    """The share of frames that went to another lane than the one they arrived on."""
    received = report["frames"]["received"]
    count = report["lanes"]["steered_out"]
    return f"{count} of {received} frames steered, {100 * count / max(received, 1):.1f} %"


class TwoLanes:
    """The same on each kind of link, and with each number of queues and threads."""

    options = ("--lanes", 2)
    queues = 2

    def two(self, *options):
        return self.httpd(*self.options, *options)

    @alone
    def test_wrk(self):
        """wrk with 1,000 connections meets no error, each lane accepts at least a quarter, and each gives all back."""
        server = self.two()
        words = ("wrk", "-t", 2, "-c", 1000, "-d", "3s", "--timeout", "10s", server.url())
        wrk = server.network.client.start(*words, stdout=subprocess.PIPE, text=True)
        amid = until(lambda: self.amid(server), 30, "load on all connections")
        text = wrk.communicate(timeout=60)[0]
        self.assertNotRegex(text, "Socket errors|Non-2xx")
        requests = int(re.search(r"(\d+) requests in", text).group(1))
        self.assertGreater(requests, 1000, text)
        rate = float(re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE).group(1))
        report = server.settle(seconds=90)
        accepted = [lane["tcp"]["accepted"] for lane in lanes_of(report)]
        self.assertEqual(len(accepted), 2)
        self.assertGreaterEqual(min(accepted), sum(accepted) / 4, accepted)
        # A connection that is over may have frames on the way still, which took the other queue: wrk opens and closes one
        # before the thousand, and all of them at its end. Of the others a reset would be one that a lane did not know.
        told = {name: amid[name] for name in ("tcp", "lanes", "drops")}
        self.assertLessEqual(amid["tcp"]["resets_sent"], amid["tcp"]["closed"], f"resets amid the load: {told}")
        self.note(f"{rate:.0f} requests/s, lanes accepted {accepted}, {steered(report)}")

    @staticmethod
    def amid(server):
        """The counters while all of wrk's connections are open and have been for a while; else None."""
        report = server.report()
        busy = report["tcp"]["accepted"] >= 1000 and report["tcp"]["segments_sent"] > 3_000
        return report if busy else None

    def test_files(self):
        """Sixteen downloads of 64 KiB and four of 10 MiB come byte-exact, from both lanes."""
        sums = {size: make_file(self.site / str(size), size) for size in (64 * KIB, 10 * MIB)}
        server = self.two()
        for size, count in ((64 * KIB, 16), (10 * MIB, 4)):
            for _ in range(count):
                got = self.fetch(server, f"/{size}", sums[size], size)
        report = server.settle(seconds=30)
        accepted = [lane["tcp"]["accepted"] for lane in lanes_of(report)]
        self.assertTrue(all(accepted), accepted)
        self.note(f"the last 10 MiB took {got.seconds:.2f} s, {steered(report)}")

    def test_reach(self):
        """ping (whole and in fragments), arping, traceroute and a closed UDP port answer eight addresses, on both queues."""
        server = self.two()
        client, interface, address = self.neighbours(server)
        hop = rf"^ 1  {re.escape(address)} +[\d.]+ ms\s*\Z"
        # The first tells all lanes who the client is.
        questions = {"arping": (f"arping -C 1 -w 5 -i {interface} -S SOURCE {address}", "1 packets received")}
        for size in (56, 3000, 8000):
            questions[f"ping of {size} bytes"] = f"ping -n -c 3 -l 3 -W 5 -s {size} -I SOURCE {address}", "3 received, 0% packet loss"
        for by in ("-U", "-I", "-T"):
            questions[f"traceroute {by}"] = f"traceroute -n -q 1 -m 3 -w 5 {by} -s SOURCE {address}", hop
        came = []
        for name, (command, answer) in questions.items():
            with self.subTest(name):
                came.append(self.ask(server, name, lambda source: self.answered(client, command.replace("SOURCE", source), answer)))
        with self.subTest("closed UDP port"):
            came.append(self.ask(server, "closed UDP port", lambda source: self.refused(client, source, address)))
        if self.queues == 2:
            # The kernel's hash is seeded by chance: one kind's eight flows may meet on one queue, not all kinds'.
            self.assertTrue(all(sum(queue) for queue in zip(*came)), f"frames that arrived on each queue: {came}")
        server.settle(seconds=45)

    def test_large_ping_first(self):
        """From eight addresses that no lane knows yet, ping in fragments loses nothing."""
        server = self.two()
        client, _, address = self.neighbours(server)
        for source in SOURCES:
            self.answered(client, f"ping -n -c 3 -i 0.2 -W 3 -s 3000 -I {source} {address}", "3 received, 0% packet loss")
        server.settle(seconds=45)

    def test_stop_open(self):
        """SIGTERM with connections open whose clients do not end them: the last report tells that all was given back."""
        server = self.two("--stop-within", "1s")
        for connection in [self.connect(server) for _ in range(8)]:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: e2e\r\n\r\n")
            self.assertIn(b" 200 ", connection.recv(64 * KIB).splitlines()[0])
        # By its end the program asserts it.
        server.stop()

    def neighbours(self, server):
        """Gives the client eight addresses more."""
        network = server.network
        for source in SOURCES:
            run("ip", "-n", network.client.name, "address", "add", f"{source}/24", "dev", network.interface)
        return network.client, network.interface, network.address

    def ask(self, server, name, question):
        """Asks from each source; all are answered. Returns how many frames came on each queue."""
        before = arrivals(server.report())
        for source in SOURCES:
            question(source)
        came = [after - was for was, after in zip(before, arrivals(server.report()))]
        self.note(f"{name}: {len(SOURCES)} times answered, frames arrived on the lanes' queues: {came}")
        return came

    def answered(self, client, command, answer):
        done = client.run(*shlex.split(command), check=False, timeout=30)
        self.assertRegex(done.stdout, re.compile(answer, re.MULTILINE), f"{command}: {done.stderr}")
        self.assertNotRegex(done.stdout, "wrong data|DUP|truncated")

    def refused(self, client, source, address):
        with client.socket(socket.SOCK_DGRAM) as datagram:
            datagram.bind((source, 0))
            datagram.connect((address, 9))
            datagram.send(b"anyone there?")
            poll = select.poll()
            poll.register(datagram, select.POLLERR)
            self.assertTrue(poll.poll(5000), f"no answer to {source} in 5 s")
            self.assertEqual(datagram.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), errno.ECONNREFUSED)

    @alone
    def test_idle(self):
        """Two idle lanes use less than 2 % of a core each, and answer at once afterwards."""
        server = self.two()
        self.assertEqual(self.download(server, "/").status, 0)
        shares = []
        # What else the machine does makes sleeps shorter than they were asked to be, or wakes caches cold.
        for _ in range(3):
            began, before = time.monotonic(), seconds_of(server)
            time.sleep(IDLE_SECONDS)
            shares.append((seconds_of(server) - before) / (time.monotonic() - began) / 2)
            if shares[-1] < IDLE_SHARE_MAX:
                break
        began = time.monotonic()
        connection = self.connect(server)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: e2e\r\nConnection: close\r\n\r\n")
        self.assertIn(b" 200 ", connection.recv(64 * KIB).splitlines()[0])
        waited = time.monotonic() - began
        connection.close()
        rests = server.report()["rests"]
        used = ", ".join(f"{100 * share:.2f}" for share in shares)
        self.note(
            f"{used} % of a core for each lane; then an answer after {1e3 * waited:.1f} ms, with the connect;"
            f" longest sleep {rests['max_us']} us, {rests['max_late_us']} us of it late"
        )
        self.assertLess(min(shares), IDLE_SHARE_MAX, "share of a core")
        self.assertLess(waited, 1, "seconds for an answer")
        server.settle()


def seconds_of(server):
    """Processor seconds of the whole process, finer than ticks."""
    return sum(thread.seconds for thread in server.threads())


class Tap(TwoLanes, Case):
    link = "tap"


class AfPacket(TwoLanes, Case):
    link = "veth"


class OneQueue(TwoLanes, Case):
    link = "tap"
    options = ("--lanes", 2, "--queues", 1)
    queues = 1


class OneThread(TwoLanes, Case):
    link = "tap"
    options = ("--lanes", 2, "--threads", 1)


@alone
class Client(Case):
    """loadgen with two lanes, from which nginx answers the kernel's way: replies come to the queue that last sent."""

    link = "tap"

    def load(self, *options):
        network = self.network()
        nginx = Nginx(self, network)
        before, file = nginx.counts(), self.folder / "report.json"
        target = f"http://{network.client_address}/"
        loader = Loader(network, target, "--wait", "20s", "--lanes", 2, "--json-report", file, *options)
        self.addCleanup(loader.process.kill)
        results = loader.join().finish().results
        self.assertEqual((loader.status, results["errors"]), (0, 0), f"{results} {loader.errors}")
        report = json.loads(file.read_text())
        opened = [lane["tcp"]["connected"] for lane in lanes_of(report)]
        # What asks for the counts is a connection too.
        accepted = nginx.counts() - before - 1
        self.note(
            f"{results['requests_per_second']:.0f} requests/s, lanes opened {opened}, {steered(report)};"
            f" latency p50 {results['latency_ns']['p50'] / 1e3:.0f} us, p99 {results['latency_ns']['p99'] / 1e3:.0f} us"
        )
        self.assertEqual((results["connections_opened"], accepted), (CONNECTIONS, CONNECTIONS))
        self.assertGreaterEqual(min(opened), CONNECTIONS / 4, opened)
        return results

    def test_held(self):
        """loadgen holds 10,000 connections to nginx open from two lanes, and each is answered twice."""
        results = self.load("--connections", CONNECTIONS, "--requests", 2 * CONNECTIONS)
        self.assertEqual(results["requests"], 2 * CONNECTIONS)

    def test_connection_each(self):
        """loadgen makes 10,000 requests to nginx from two lanes, a connection each."""
        results = self.load("--connections", 200, "--requests", CONNECTIONS, "--close", "--source", "10.77.0.100-10.77.0.110")
        self.assertEqual(results["requests"], CONNECTIONS)

    def test_one_queue(self):
        """The same over one queue: each answer to the second lane's connections is handed over."""
        options = ("--connections", 200, "--requests", CONNECTIONS, "--close", "--source", "10.77.0.100-10.77.0.110")
        results = self.load("--queues", 1, *options)
        self.assertEqual(results["requests"], CONNECTIONS)
