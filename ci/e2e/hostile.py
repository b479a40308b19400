"""Hostile HTTP and malformed frames over the wire: counted or answered; never a crash, a hang or a leak."""

import errno
import fcntl
import random
import socket
import struct
import time

from harness import FULL, KIB, MIB, Case, make_file

GET = b"GET / HTTP/1.1\r\nHost: e2e\r\n\r\n"


class Http(Case):
    """Requests that no browser sends."""

    long = 17

    def answer(self, server, request, end=True, seconds=10):
        """Sends, ends our direction, and returns all that came back; a reset counts as the end, however it shows."""
        connection = self.connect(server, timeout=seconds)
        try:
            connection.sendall(request)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return self.rest(connection)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                raise
            return b""
        finally:
            connection.close()

    def rest(self, connection):
        back = b""
        try:
            while chunk := connection.recv(64 * KIB):
                back += chunk
        except ConnectionResetError:
            pass
        return back

    def status(self, answer):
        """Status code of the first answer in the bytes."""
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None

    def test_still_served(self):
        """Each of these gets its 4xx or 5xx, or an end; and the next client is served as ever."""
        # Status codes that are right; None: the connection just ends.
        requests = {
            "no request": (b"\r\n\r\n\r\n", {400, None}),
            "noise": (bytes(range(256)), {400}),
            "TLS": (bytes.fromhex("16030100c8010000c403") + bytes(190), {400, None}),
            "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 501, 505}),
            "no host": (b"GET / HTTP/1.1\r\n\r\n", {400}),
            "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {400}),
            "version": (b"GET / HTTP/7.7\r\nHost: a\r\n\r\n", {400, 505}),
            "method": (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", {405, 501}),
            "POST": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", {405, 501}),
            "space before colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", {400}),
            "nul in header": (b"GET / HTTP/1.1\r\nHost: a\r\nA: \0\r\n\r\n", {400}),
            "nul in path": (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
            "bad escape": (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", {400, 404}),
            "half escape": (b"GET /% HTTP/1.1\r\nHost: a\r\n\r\n", {400, 404}),
            "nul escape": (b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", {400, 404}),
            "not UTF-8": (b"GET /%ff%fe HTTP/1.1\r\nHost: a\r\n\r\n", {400, 404}),
            "long target": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", {400, 414, 431}),
            "long header": (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 100_000 + b"\r\n\r\n", {400, 431}),
            "many headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", {400, 431}),
            "endless header": (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * MIB, {400, 431}),
            "length and chunked": (
                b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {200, 400, 501}),
            "two lengths": (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", {400}),
            "bad length": (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", {400}),
            "huge length": (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", {400, 413}),
        }
        server = self.httpd()
        for name, (request, right) in requests.items():
            with self.subTest(name):
                answer = self.answer(server, request)
                # What is longer than the server reads may meet a reset, which can overtake the answer.
                long = len(request) > 60_000
                self.assertIn(self.status(answer), right | ({None} if long else set()), answer[:200])
                self.assertEqual(self.status(self.answer(server, GET)), 200, "the next client")
        server.settle()

    def test_outside(self):
        """No spelling of `..` leads out of the site, nor does a link."""
        secret = self.folder / "secret.txt"
        secret.write_text("top secret")
        (self.site / "inside").mkdir()
        (self.site / "link.txt").symlink_to(secret)
        server = self.httpd()
        targets = [
            "/../secret.txt", "/inside/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/.%2e/secret.txt",
            "/%2e%2e%2fsecret.txt", "/..%5csecret.txt", "/..\\secret.txt", "/inside/..%2f..%2fsecret.txt", "//../secret.txt",
            "/....//secret.txt", "/%252e%252e/secret.txt", f"/{secret}", f"//{secret}", f"/%2f{secret}",
            "../secret.txt", "http://e2e/../secret.txt", "/link.txt", "/inside/..;/../secret.txt", "/.././../secret.txt",
        ]
        for target in targets:
            with self.subTest(target):
                answer = self.answer(server, f"GET {target} HTTP/1.1\r\nHost: e2e\r\n\r\n".encode())
                self.assertNotIn(b"top secret", answer)
                self.assertIn(self.status(answer), {400, 403, 404}, answer[:200])
        server.settle()

    def test_split_everywhere(self):
        """A request cut in two at every byte, and one sent byte by byte, are each answered with 200."""
        server = self.httpd()
        request = b"GET /index.html HTTP/1.1\r\nHost: e2e\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        cuts = [[at] for at in range(1, len(request))] + [list(range(1, len(request)))]
        for cut in cuts:
            connection = self.connect(server)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start, end in zip([0, *cut], [*cut, len(request)]):
                connection.send(request[start:end])
                # Unacknowledged bytes of the kernel's would be merged; wait until the server has these.
                while struct.unpack("I", self.unsent(connection))[0]:
                    time.sleep(0.0002)
            answer = self.rest(connection)
            connection.close()
            self.assertEqual(self.status(answer), 200, f"cut at {cut[:1]}: {answer[:100]}")
            self.assertTrue(answer.endswith((self.site / "index.html").read_bytes()))
        server.settle()

    @staticmethod
    def unsent(connection):
        siocoutq = 0x5411
        return fcntl.ioctl(connection, siocoutq, b"\0\0\0\0")

    def test_pipelined(self):
        """500 requests sent at once on one connection get 500 answers in their order."""
        server = self.httpd()
        for number in range(10):
            (self.site / f"{number}.txt").write_text(f"file {number}")
        order = [random.Random(3).randrange(10) for _ in range(500)]
        requests = b"".join(b"GET /%d.txt HTTP/1.1\r\nHost: e2e\r\n\r\n" % number for number in order[:-1])
        requests += b"GET /%d.txt HTTP/1.1\r\nHost: e2e\r\nConnection: close\r\n\r\n" % order[-1]
        connection = self.connect(server, timeout=20)
        connection.sendall(requests)
        answers = self.rest(connection).split(b"HTTP/1.1 ")[1:]
        connection.close()
        self.assertEqual(len(answers), 500)
        for answer, number in zip(answers, order):
            self.assertTrue(answer.startswith(b"200 ") and answer.endswith(b"\r\n\r\nfile %d" % number), answer)
        server.settle()

    def test_head(self):
        """HEAD tells the length and sends no body; the next request on the connection is in step."""
        server = self.httpd()
        answer = self.answer(server, b"HEAD / HTTP/1.1\r\nHost: e2e\r\n\r\nHEAD / HTTP/1.1\r\nHost: e2e\r\n\r\n")
        length = len((self.site / "index.html").read_bytes())
        heads = answer.split(b"\r\n\r\n")
        self.assertEqual((len(heads), heads[2]), (3, b""), answer)
        for head in heads[:2]:
            self.assertIn(b"HTTP/1.1 200 ", head)
            self.assertIn(b"content-length: %d" % length, head.lower())
        server.settle()

    def test_reader_that_stops(self):
        """Fifty clients ask for 8 MiB and read nothing: others are served meanwhile, and all is given back."""
        sha256 = make_file(self.site / "file", 8 * MIB)
        server = self.httpd()
        stuck = [self.connect(server) for _ in range(50)]
        for connection in stuck:
            connection.sendall(GET.replace(b"/ ", b"/file "))
        self.fetch(server, "/file", sha256, 8 * MIB)
        for connection in stuck:
            # A reset, as a crashed client's kernel sends.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        server.settle()

    def test_noise(self):
        """1,000 connections of seeded noise and mutated requests: the server lives, answers and leaks nothing."""
        server = self.httpd()
        source = random.Random(99)
        for _ in range(5000 if FULL else 1000):
            request = bytearray(GET * source.randint(1, 3))
            for _ in range(source.randint(1, 8)):
                at = source.randrange(len(request))
                request[at : at + source.randint(0, 3)] = source.randbytes(source.randint(0, 3))
            self.answer(server, bytes(request))
        self.assertEqual(self.status(self.answer(server, GET)), 200)
        server.settle()

    def test_slow_header(self):
        """A client that never ends its header is closed by the server's own time-out."""
        server = self.httpd()
        connection = self.connect(server, timeout=90)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: e2e\r\n")
        began = time.monotonic()
        answer = self.rest(connection)
        self.assertIn(self.status(answer), {408, None})
        self.note(f"closed after {time.monotonic() - began:.1f} s")
        connection.close()
        server.settle()


class Frames(Case):
    """Malformed frames of each layer, sent from the client's side of the link."""

    def templates(self, network, server_mac):
        """Well-formed frames to start from."""
        source, target = socket.inet_aton(network.client_address), socket.inet_aton(network.address)
        ethernet = server_mac + bytes.fromhex(network.client_mac.replace(":", ""))

        def ipv4(protocol, payload):
            head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, source, target)
            return ethernet + b"\x08\x00" + self.summed(head, 10) + payload

        tcp = struct.pack("!HHIIBBHHH", 999, 80, 1, 0, 0x60, 2, 1000, 0, 0) + b"\x02\x04\x05\xb4"
        return [
            ethernet + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + ethernet[6:] + source + bytes(6) + target,
            ipv4(1, self.summed(struct.pack("!BBHHH", 8, 0, 0, 1, 1) + b"ping" * 8, 2)),
            ipv4(17, struct.pack("!HHHH", 999, 9, 12, 0) + b"data"),
            ipv4(6, tcp),
            ethernet + b"\x81\x00\x00\x05" + ipv4(6, tcp)[12:],
            ethernet + b"\x86\xdd" + bytes(40),
        ]

    @staticmethod
    def summed(data, at):
        """With the Internet checksum of the bytes at `at`."""
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return data[:at] + struct.pack("!H", ~total & 0xFFFF) + data[at + 2 :]

    def test_mutated(self):
        """20,000 seeded mutations of ARP, ICMP, UDP, TCP, VLAN and IPv6 frames: the server lives and is not slower."""
        network = self.network()
        server = self.httpd(network=network)
        self.assertEqual(self.download(server, "/").status, 0)
        neighbour = network.client.run("ip", "neigh", "show", network.address).stdout
        server_mac = bytes.fromhex(neighbour.split("lladdr ")[1].split()[0].replace(":", ""))
        source, templates = random.Random(2024), self.templates(network, server_mac)
        with network.client.socket(socket.SOCK_RAW, socket.AF_PACKET) as raw:
            raw.bind((network.interface, 0))
            for number in range(500_000 if FULL else 20_000):
                frame = bytearray(templates[number % len(templates)])
                for _ in range(source.randint(0, 4)):
                    frame[source.randrange(12, len(frame))] = source.randrange(256)
                if source.random() < 0.2:
                    frame = frame[: source.randint(14, len(frame))]
                try:
                    raw.send(frame)
                except OSError:
                    pass  # the client's kernel refuses some itself, or its queue is full
        # Mutated ARP may have moved the client's address, as ARP lets anyone do; its next word puts that right.
        network.client.run("arping", "-c", 1, "-i", network.interface, network.address)
        self.assertEqual(self.download(server, "/").status, 0)
        drops = server.report()["drops"]
        self.assertGreater(sum(drops.values()), 1000, drops)
        self.note(f"drops by reason: {', '.join(f'{name} {count}' for name, count in drops.items() if count)}")
        # Half-open connections of mutated SYNs end by their own time-out.
        server.settle(seconds=120)
