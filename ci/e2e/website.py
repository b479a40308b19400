"""What a web server's owner expects: validators, ranges, listings, limits, the log, the metrics, several addresses."""

import hashlib
import os
import pty
import re
import select
import signal
import subprocess
import time

import harness
from harness import HUGE_PAGES, KIB, MIB, Case, make_file, until

# The status, and what else curl tells of an answer.
WRITE = ("-o", "/dev/null", "-w", "%{http_code} %{size_download}")


class Answers(Case):
    """What curl gets for what it asks."""

    def ask(self, server, path, *options):
        """curl's account of one answer: status and bytes."""
        done = server.network.client.run("curl", "-sS", "--path-as-is", *WRITE, *options, server.url(path))
        return tuple(int(word) for word in done.stdout.split())

    def test_ranges(self):
        """curl -r fetches parts of a file of many chunks, byte for byte, and a broken download goes on with -C."""
        size = 3 * MIB + 7
        make_file(self.site / "file", size)
        data = (self.site / "file").read_bytes()
        server = self.httpd()
        for text, first, end in (
            ("0-0", 0, 1), ("100-199", 100, 200), (f"{256 * KIB - 1}-{256 * KIB}", 256 * KIB - 1, 256 * KIB + 1),
            (f"{MIB}-", MIB, size), ("-5", size - 5, size), (f"{2 * MIB}-{9 * MIB}", 2 * MIB, size),
        ):
            with self.subTest(text):
                got = self.download(server, "/file", "-f", "-r", text)
                self.assertEqual((got.status, got.sha256), (0, hashlib.sha256(data[first:end]).hexdigest()))
                self.assertEqual(self.ask(server, "/file", "-r", text), (206, end - first))
        self.assertEqual(self.ask(server, "/file", "-r", f"{size}-")[0], 416)
        self.assertEqual(self.ask(server, "/file", "-r", "0-1,5-6"), (200, size))
        part = self.folder / "part"
        part.write_bytes(data[:MIB + 3])
        server.network.client.run("curl", "-sS", "-f", "-C", "-", "-o", part, server.url("/file"))
        self.assertEqual(part.read_bytes(), data)
        server.settle()

    def test_unchanged(self):
        """curl's --etag-compare and -z get no byte of a file they have, and all of it once it has changed."""
        file, tag = self.site / "page.html", self.folder / "tag"
        make_file(file, 1000)
        os.utime(file, (1e9, 1e9))
        server = self.httpd()
        self.assertEqual(self.ask(server, "/page.html", "--etag-save", tag), (200, 1000))
        self.assertRegex(tag.read_text(), r'^"[0-9a-f]{16}"\n?$')
        self.assertEqual(self.ask(server, "/page.html", "--etag-compare", tag), (304, 0))
        self.assertEqual(self.ask(server, "/page.html", "-z", file), (304, 0))
        self.assertEqual(self.ask(server, "/page.html", "-z", "2000-01-01"), (200, 1000))
        make_file(file, 1001)
        os.utime(file, (1e9, 1e9))
        until(lambda: self.ask(server, "/page.html", "--etag-compare", tag) == (200, 1001), 5, "new version")
        server.settle()

    def test_listing(self):
        """A folder without an index is listed with --listing, and each link leads to its file."""
        names = ["a b&c.txt", "<x>.txt", "ü.txt", "per%20cent", "q?x#y"]
        (self.site / "list").mkdir()
        for name in names:
            (self.site / "list" / name).write_text(name)
        server = self.httpd("--listing")
        self.assertEqual(self.ask(server, "/list")[0], 301)
        got = harness.Transfer(server.network, server.url("/list"), "-L", "-f", keep=True).finish()
        page = got.kept.decode()
        links = re.findall(r'href="\./([^"]*)"', page)
        self.assertEqual(len(links), len(names))
        bodies = {harness.Transfer(server.network, server.url(f"/list/{link}"), "-f", keep=True).finish().kept.decode() for link in links}
        self.assertEqual(bodies, set(names))
        self.assertNotIn("<x>", page)
        server.settle()

    def test_addresses(self):
        """The server answers on every address and port it was told, and nowhere else."""
        listen = ["--listen", "10.77.0.2:80", "--listen", "10.77.0.3:81", "--listen", "0.0.0.0:82"]
        server = self.httpd("--address", "10.77.0.3/24", *listen)
        for address, port, good in (
            ("10.77.0.2", 80, True), ("10.77.0.3", 81, True), ("10.77.0.2", 82, True), ("10.77.0.3", 82, True),
            ("10.77.0.3", 80, False), ("10.77.0.2", 81, False),
        ):
            done = server.network.client.run("curl", "-sS", "-f", "-m", 5, f"http://{address}:{port}/", check=False)
            self.assertEqual(done.returncode, 0 if good else 7, f"{address}:{port} {done.stderr}")
        server.settle()


class Limits(Case):
    """Clients that take more than their share."""

    def test_slow_heads(self):
        """200 connections that send a byte a second are all told 408 in time, while curl is served."""
        server = self.httpd("--header-within", "3s")
        slow = [self.connect(server) for _ in range(200)]
        began = time.monotonic()
        open_ones = set(slow)
        answers = []
        while open_ones and time.monotonic() - began < 15:
            for connection in open_ones:
                try:
                    connection.send(b"G")
                except OSError:
                    pass
            for connection in select.select(list(open_ones), [], [], 1)[0]:
                answers.append(connection.recv(4096)[9:12])
                open_ones.discard(connection)
            self.assertEqual(self.download(server, "/", "-f").status, 0)
        self.assertEqual(set(answers), {b"408"})
        self.assertEqual(len(answers), 200)
        self.note(f"the last after {time.monotonic() - began:.1f} s")
        for connection in slow:
            connection.close()
        server.settle(seconds=30)

    def test_stopped_readers(self):
        """Clients that ask for a large file and read nothing are dropped after the time they have."""
        make_file(self.site / "large", 20 * MIB)
        server = self.httpd("--send-within", "2s")
        before = server.report()["flows"]
        stopped = [self.connect(server) for _ in range(20)]
        for connection in stopped:
            connection.send(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
        until(lambda: server.report()["tcp"]["accepted"] >= 20, 10, "20 connections")
        until(lambda: server.report()["flows"] == before, 20, "end of the 20 connections")
        self.assertEqual(self.download(server, "/", "-f").status, 0)
        server.settle(seconds=30)

    def test_most_connections(self):
        """The connection beyond the limit gets 503; when one has gone, there is room again."""
        server = self.httpd("--most-connections", 5, "--most-requests", 2)
        held = [self.connect(server) for _ in range(5)]
        for connection in held:
            connection.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            self.assertEqual(connection.recv(4096)[9:12], b"200")
        extra = self.connect(server)
        self.assertEqual(extra.recv(4096)[9:12], b"503")
        held[0].send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertIn(b"\r\nConnection: close\r\n", held[0].recv(4096))
        for connection in (held[0], extra):
            connection.close()
        until(lambda: self.download(server, "/", "-f").status == 0, 10, "room again")
        for connection in held:
            connection.close()
        server.settle(seconds=30)


class Told(Case):
    """What the server tells its owner."""

    def test_access_log(self):
        """Each request is a record in the combined format, and SIGHUP moves on to a new file."""
        log, old = self.folder / "access.log", self.folder / "access.old"
        server = self.httpd("--access-log", log)
        for path in ("/", "/none", "/?q"):
            self.download(server, path, "-A", "e2e", "-e", "http://from/")
        until(lambda: log.read_text().count("\n") == 3, 10, "three records")
        log.rename(old)
        server.process.send_signal(signal.SIGHUP)
        until(log.exists, 10, "new file")
        self.download(server, "/", "-I")
        until(lambda: log.read_text().count("\n") == 1, 10, "record in the new file")
        date = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]"
        for line, path, status in zip(old.read_text().splitlines(), ("/", "/none", r"/\?q"), (200, 404, 200)):
            self.assertRegex(line, rf'^10\.77\.0\.1 - - {date} "GET {path} HTTP/1\.1" {status} \d+ "http://from/" "e2e"$')
        self.assertRegex(log.read_text(), r'"HEAD / HTTP/1\.1" 200 0 ')
        server.settle()

    def test_metrics(self):
        """The metrics count what was asked, at their own address alone."""
        server = self.httpd("--metrics", "--metrics-listen", "10.77.0.2:9100")
        for _ in range(7):
            self.download(server, "/")
        self.assertEqual(self.download(server, "/metrics", "-f").status, 22)
        page = server.network.client.run("curl", "-sS", "-f", "http://10.77.0.2:9100/metrics").stdout
        figures = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        self.assertEqual(figures['corelane_http_answers_total{lane="0",class="2xx"}'], "7")
        self.assertEqual(figures['corelane_http_answers_total{lane="0",class="4xx"}'], "1")
        self.assertTrue(page.endswith("# EOF\n"))
        server.settle()

    def test_configuration(self):
        """A file says all that the command line can, and what is typed wins."""
        file = self.folder / "httpd.toml"
        file.write_text('port = 81\nlisting = true\nmost-requests = 1\nidle-within = "9s"\n')
        (self.site / "bare").mkdir()
        server = self.httpd("--config", file, "--port", "80")
        self.assertEqual(self.download(server, "/bare/", "-f").status, 0)
        got = server.network.client.run("curl", "-sSI", server.url("/")).stdout
        self.assertIn("Connection: close", got)
        server.settle()

    def test_status_line(self):
        """On a terminal there is a line that is drawn anew, and none with --quiet."""
        for quiet in (False, True):
            network = self.network()
            main, side = pty.openpty()
            command = [harness.programs / "httpd", *harness.everywhere, "--device", network.device, "--address", "10.77.0.2/24", "--root", self.site]
            command += [] if HUGE_PAGES else ["--no-huge"]
            command += ["--quiet"] if quiet else []
            process = network.host.start(*command, stdout=subprocess.DEVNULL, stderr=side)
            os.close(side)
            text, deadline = b"", time.monotonic() + (4 if quiet else 15)
            while time.monotonic() < deadline and text.count(b"requests/s") < 2:
                if select.select([main], [], [], 0.1)[0]:
                    text += os.read(main, 4096)
            process.send_signal(signal.SIGTERM)
            while select.select([main], [], [], 5)[0]:
                try:
                    os.read(main, 4096)
                except OSError:
                    break
            self.assertEqual(process.wait(15), 0)
            os.close(main)
            shown = re.findall(rb"\r\x1b\[K(\d+ connections, \d+ requests/s, [\d.]+ Mb/s, \d+ drops)", text)
            self.assertEqual(len(shown) >= 2, not quiet, text)
