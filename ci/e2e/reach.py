"""ping, arping and traceroute are answered, and what is closed is refused at once."""

import errno
import re
import select
import socket
import time

from harness import Case

# Above 1,472 bytes of payload the requests and the answers are fragments.
PING_SIZES = (0, 1, 8, 56, 1000, 1471, 1472, 1473, 2000, 2952, 2953, 4000, 8000)


class Reach:
    """The same questions on each kind of link."""

    def test_ping(self):
        """ping with 0 to 8,000 bytes, whole and in fragments, loses nothing and gets its own bytes back."""
        server = self.httpd()
        for size in PING_SIZES:
            with self.subTest(size=size):
                # All at once: after an answer, ping waits for the last only twice as long as that took, or the interval.
                done = server.network.client.run(
                    "ping", "-n", "-c", 3, "-l", 3, "-W", 3, "-s", size, server.network.address, check=False
                )
                self.assertRegex(done.stdout, "3 received, 0% packet loss")
                # ping marks each byte that came back changed.
                self.assertNotRegex(done.stdout, "wrong data|DUP|truncated")
        server.settle(seconds=40)

    def test_ping_flood(self):
        """500 requests as fast as ping sends them all come back."""
        server = self.httpd()
        done = server.network.client.run("ping", "-n", "-q", "-f", "-c", 500, server.network.address, check=False)
        self.assertRegex(done.stdout, "500 received, 0% packet loss")
        server.settle()

    def test_arping(self):
        """arping gets an answer to each of its requests, all from one address."""
        server = self.httpd()
        done = server.network.client.run("arping", "-c", 3, "-W", 0.2, "-i", server.network.interface, server.network.address, check=False)
        self.assertEqual(len(re.findall(r"^\d+ bytes from ", done.stdout, re.MULTILINE)), 3, done.stdout + done.stderr)
        self.assertEqual(len(set(re.findall(r"from ([\da-f:]+) ", done.stdout))), 1, done.stdout)
        server.settle()

    def test_traceroute(self):
        """traceroute reaches the server in one hop, by UDP, by ICMP and by TCP."""
        server = self.httpd()
        for method in ("-U", "-I", "-T"):
            with self.subTest(method):
                done = server.network.client.run(
                    "traceroute", "-n", "-q", 1, "-m", 3, "-w", 3, method, server.network.address, check=False
                )
                hops = done.stdout.strip().splitlines()[1:]
                self.assertEqual(len(hops), 1, done.stdout + done.stderr)
                self.assertIn(f" {server.network.address} ", hops[0])
        server.settle()

    def test_closed_tcp_port(self):
        """A connection to a port where nothing listens is refused at once."""
        server = self.httpd()
        for port in (1, 81, 65535):
            began = time.monotonic()
            connection = server.network.client.socket()
            connection.settimeout(5)
            with self.assertRaises(ConnectionRefusedError):
                connection.connect((server.network.address, port))
            connection.close()
            self.assertLess(time.monotonic() - began, 0.5)
        server.settle()

    def test_closed_udp_port(self):
        """A datagram to a port where nothing listens is answered with «port unreachable»."""
        server = self.httpd()
        with server.network.client.socket(socket.SOCK_DGRAM) as datagram:
            datagram.connect((server.network.address, 9))
            datagram.send(b"anyone there?")
            poll = select.poll()
            poll.register(datagram, select.POLLERR)
            self.assertTrue(poll.poll(3000), "no answer in 3 s")
            self.assertEqual(datagram.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), errno.ECONNREFUSED)
        server.settle()

    def test_other_address(self):
        """A neighbour address that is not the server's is not answered for."""
        server = self.httpd()
        done = server.network.client.run("arping", "-c", 1, "-w", 1, "-i", server.network.interface, "10.77.0.3", check=False)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        server.settle()


class Tap(Reach, Case):
    link = "tap"


class AfPacket(Reach, Case):
    link = "veth"
