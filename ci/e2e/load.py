"""wrk, ab and thousands of idle connections: served without one error."""

import re
import select
import socket

from harness import FULL, Case, alone


class Load:
    """Many clients at once, the same on each kind of link."""

    def wrk(self, server, connections, seconds, path="/"):
        """Loads the server; returns requests per second. Any error fails."""
        before = server.processor_seconds()
        text = server.network.client.run(
            "wrk", "-t", 2, "-c", connections, "-d", f"{seconds}s", "--timeout", "10s", server.url(path), timeout=seconds + 60
        ).stdout
        rate = float(re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE).group(1))
        requests = int(re.search(r"(\d+) requests in", text).group(1))
        self.assertNotRegex(text, "Socket errors|Non-2xx")
        self.assertGreater(requests, connections, text)
        lanes, others = (sum(t.seconds for t in server.threads() if t.name.startswith("lane") == of) for of in (True, False))
        micros = (server.processor_seconds() - before) / requests * 1e6
        self.note(f"wrk, {connections} connections: {rate:.0f} requests/s, {micros:.1f} us of the server's processor each, {others / (lanes + others):.1%} of it not in lanes")
        self.assertLess(others, lanes / 5, "processor seconds of threads that are no lanes")
        return rate

    def test_wrk_64(self):
        """wrk with 64 kept-alive connections meets no error."""
        server = self.httpd()
        self.wrk(server, 64, 10 if FULL else 3)
        server.settle(seconds=90)

    def test_wrk_1000(self):
        """wrk with 1,000 kept-alive connections meets no error."""
        server = self.httpd()
        self.wrk(server, 1000, 10 if FULL else 3)
        # wrk ends by resets, which a full link may lose: such a connection waits for the server's patience of 75 s.
        server.settle(seconds=90)

    def test_ab(self):
        """ab makes 10,000 requests, a connection each and 100 at a time, and none fails."""
        server = self.httpd()
        self.ab(server)
        server.settle()

    def ab(self, server):
        text = server.network.client.run("ab", "-q", "-n", 10_000, "-c", 100, "-s", 20, server.url(), timeout=120).stdout
        figures = dict(re.findall(r"^([A-Z][\w -]+?):\s+([\d.]+)", text, re.MULTILINE))
        self.assertEqual(figures["Complete requests"], "10000", text)
        self.assertEqual(figures["Failed requests"], "0", text)
        self.assertNotIn("Write errors", text)
        self.assertNotIn("Non-2xx", text)
        self.note(f"ab, a connection each, 100 at a time: {figures['Requests per second']} requests/s")


@alone
class AfPacket(Load, Case):
    link = "veth"


@alone
class Tap(Load, Case):
    link = "tap"

    def test_ab_twice(self):
        """ab runs a second time at once, with ports still in TIME-WAIT at the server, and none fails."""
        server = self.httpd()
        for _ in range(2):
            self.ab(server)
        server.settle()

    def test_idle(self):
        """10,000 idle connections stay up while wrk is served beside them; then each is answered again."""
        server = self.httpd()
        request = b"GET / HTTP/1.1\r\nHost: e2e\r\n\r\n"
        idle = []
        with server.network.client.inside():
            for _ in range(10_000):
                idle.append(self.connect_inside(server))
        self.ask_all(idle, request)
        self.assertGreaterEqual(server.report()["flows"], 10_000)
        self.wrk(server, 64, 2)
        poll = select.poll()
        for connection in idle:
            poll.register(connection, select.POLLIN | select.POLLHUP | select.POLLERR)
        self.assertEqual(len(poll.poll(0)), 0, "connections that ended or said something unasked")
        self.ask_all(idle, request)
        for connection in idle:
            connection.close()
        server.settle(seconds=30)

    def connect_inside(self, server):
        connection = socket.create_connection((server.network.address, server.port), timeout=10)
        self.addCleanup(connection.close)
        return connection

    def ask_all(self, connections, request):
        """A request on each, then an answer from each."""
        length = len((self.site / "index.html").read_bytes())
        for connection in connections:
            connection.sendall(request)
        for number, connection in enumerate(connections):
            answer = b""
            while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < length:
                answer += connection.recv(4096) or self.fail(f"connection {number} ended after {answer}")
            self.assertIn(b" 200 ", answer.splitlines()[0])
