"""echo gives back what nc and plain sockets send it, streams and datagrams; half-close works in both directions."""

import random
import socket
import subprocess
import threading

from harness import FULL, KIB, MIB, Case, make_file


class Echo:
    """The same conversations on each kind of link."""

    def test_socket(self):
        """A socket sends 64 MiB and ends its direction; the same bytes come back, then the end."""
        data = random.Random(64).randbytes(64 * MIB)
        server = self.echo()
        back = self.converse(self.connect(server, timeout=30), data)
        self.assertTrue(back == data, f"what came back differs: {len(back)} bytes")
        server.settle()

    def test_nc(self):
        """`nc -N` sends 64 MiB from a file, half-closes, and has the same bytes at its end."""
        make_file(self.folder / "sent", 64 * MIB)
        server = self.echo()
        with open(self.folder / "sent", "rb") as sent, open(self.folder / "back", "wb") as back:
            nc = server.network.client.start(
                "timeout", "120", "nc", "-N", server.network.address, server.port, stdin=sent, stdout=back, stderr=subprocess.PIPE
            )
            message = nc.stderr.read().decode()
            self.assertEqual(nc.wait(), 0, message)
            nc.stderr.close()
        self.assertTrue((self.folder / "sent").read_bytes() == (self.folder / "back").read_bytes(), "the bytes differ")
        server.settle()

    def test_sizes(self):
        """Messages of 1 byte to 100,000 bytes, one after the other on one connection, come back each."""
        server = self.echo()
        connection = self.connect(server)
        source = random.Random(7)
        for size in (1, 2, 31, 32, 536, 1447, 1448, 1449, 1460, 4096, 65535, 65536, 100_000):
            data = source.randbytes(size)
            connection.sendall(data)
            back = bytearray()
            while len(back) < size:
                back += connection.recv(size - len(back)) or self.fail("the connection ended early")
            self.assertTrue(back == data, f"{size} bytes")
        connection.close()
        server.settle()

    def test_many_at_once(self):
        """Fifty connections send 1 MiB each at the same time; each gets its own bytes back."""
        server = self.echo()
        faults = []

        def check(seed):
            data = random.Random(seed).randbytes(MIB)
            try:
                if self.converse(connections[seed], data) != data:
                    faults.append(f"connection {seed}: the bytes differ")
            except (OSError, AssertionError) as error:
                faults.append(f"connection {seed}: {error}")

        connections = [self.connect(server, timeout=60) for _ in range(50)]
        threads = [threading.Thread(target=check, args=(seed,)) for seed in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(faults, [])
        server.settle()


class Datagrams:
    """UDP."""

    # What the link carries; IPv4 has no larger ones.
    sizes = (1, 0, 2, 511, 512, 1472, 1473, 8000, 65507)

    def ask(self, server, client, payload):
        """One question from a socket, and its answer."""
        client.sendto(payload, (server.network.address, server.port))
        return client.recvfrom(2 * 65536)[0]

    def client(self, server, port=0):
        client = server.network.client.socket(socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.settimeout(5)
        client.bind((server.network.client_address, port))
        return client

    def test_datagrams(self):
        """Datagrams of 0 bytes to the most the link carries come back whole, those beyond the MTU in fragments."""
        server, source = self.echo(), random.Random(7)
        client = self.client(server)
        for size in self.sizes:
            payload = source.randbytes(size)
            self.assertTrue(self.ask(server, client, payload) == payload, f"{size} bytes")
        server.settle()

    def test_queries(self):
        """5,000 small queries, each from a port of its own as resolvers do, 64 at a time: each gets its own answer."""
        server, source = self.echo(), random.Random(53)
        answered = 0
        for _ in range(5000 // 64 + 1):
            asked = {self.client(server): source.randbytes(source.randrange(17, 512)) for _ in range(64)}
            for client, query in asked.items():
                client.sendto(query, (server.network.address, server.port))
            for client, query in asked.items():
                answered += client.recv(65536) == query
                client.close()
        self.assertEqual(answered, 64 * (5000 // 64 + 1))
        self.note(f"{answered} queries answered")
        server.settle()

    def test_no_loop(self):
        """A datagram that claims to come from another echo server's port is not answered."""
        server = self.echo()
        client = self.client(server, 7)
        client.settimeout(0.5)
        with self.assertRaises(TimeoutError):
            self.ask(server, client, b"to and fro")
        self.assertEqual(self.ask(server, self.client(server), b"once"), b"once")
        server.settle()


class Tap(Echo, Datagrams, Case):
    link = "tap"


class AfPacket(Echo, Datagrams, Case):
    link = "veth"
    # The kernel puts fragments together before DPDK sees them, and its ring has 16 KiB for a frame.
    sizes = (1, 0, 2, 511, 512, 1472, 1473, 8000)


class HalfClose(Case):
    """Each direction of a connection ends by itself."""

    def test_client_ends_first(self):
        """A client that has sent its request ends its direction, and still gets the whole answer."""
        size = 8 * MIB
        make_file(self.site / "file", size)
        server = self.httpd()
        connection = self.connect(server)
        connection.sendall(b"GET /file HTTP/1.1\r\nHost: e2e\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = bytearray()
        while chunk := connection.recv(256 * KIB):
            answer += chunk
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        self.assertIn(b" 200 ", head.splitlines()[0])
        self.assertTrue(body == (self.site / "file").read_bytes(), f"{len(body)} bytes came")
        server.settle()

    def test_server_ends_first(self):
        """A server that ends its direction (`Connection: close`) is told the end by the client in its own time."""
        server = self.httpd()
        connection = self.connect(server)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: e2e\r\nConnection: close\r\n\r\n")
        while connection.recv(64 * KIB):
            pass
        # The server has ended its side; the connection waits for ours, and takes it.
        self.assertGreaterEqual(server.report()["flows"], 1)
        connection.close()
        server.settle()

    def test_nothing_sent(self):
        """A client that connects and ends at once, without a byte, is answered with the end."""
        server = self.echo()
        for _ in range(100 if FULL else 10):
            connection = self.connect(server)
            connection.shutdown(socket.SHUT_WR)
            self.assertEqual(connection.recv(1), b"")
            connection.close()
        server.settle()
