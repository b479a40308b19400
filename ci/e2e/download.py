"""curl fetches files of every size, byte for byte, and files that change under it never come mixed."""

import hashlib
import os
import signal

from harness import FULL, GIB, KIB, MIB, Case, Transfer, make_file

SIZES = {"1 B": 1, "64 KiB": 64 * KIB, "10 MiB": 10 * MIB}
# The program's memory without huge pages: DPDK's (256 MiB), the chunk cache, and what else there is.
RESIDENT_BYTES_MAX = 640 * MIB


class Sizes:
    """The same downloads on each kind of link."""

    def test_sizes(self):
        """curl fetches 1 B, 64 KiB and 10 MiB, with the SHA-256 of the file on disk."""
        sums = {name: make_file(self.site / str(size), size) for name, size in SIZES.items()}
        server = self.httpd()
        for name, size in SIZES.items():
            with self.subTest(name):
                self.fetch(server, f"/{size}", sums[name], size)
        server.settle()

    def test_empty_file(self):
        """curl fetches a file without a byte, and the connection is in order after it."""
        sha256 = make_file(self.site / "empty", 0)
        server = self.httpd()
        self.fetch(server, "/empty", sha256, 0)
        server.settle()

    def test_one_gib(self):
        """curl fetches 1 GiB with the file's SHA-256, and the server's resident memory stays far below that."""
        sha256 = make_file(self.site / "large", GIB)
        server = self.httpd()
        got = self.fetch(server, "/large", sha256, GIB, timeout=120)
        high = server.memory_high_bytes()
        self.note(f"1 GiB in {got.seconds:.1f} s, at most {high // MIB} MiB resident")
        self.assertLess(high, RESIDENT_BYTES_MAX, "resident memory")
        server.settle()

    def test_many_at_once(self):
        """Twenty curls fetch 10 MiB each at the same time; all get every byte."""
        sha256 = make_file(self.site / "file", 10 * MIB)
        server = self.httpd()
        running = [Transfer(server.network, server.url("/file")) for _ in range(20)]
        for transfer in running:
            transfer.finish()
            self.assertEqual((transfer.status, transfer.sha256), (0, sha256), transfer.message)
        server.settle()


class Tap(Sizes, Case):
    link = "tap"


class NetTap(Sizes, Case):
    link = "net_tap"


class AfPacket(Sizes, Case):
    link = "veth"


class Changing(Case):
    """What a client gets of a file that changes in mid-download: old bytes, or an aborted connection."""

    size = (256 if FULL else 64) * MIB

    def change(self, change):
        """Downloads slowly, applies `change` to the file on the way, and checks what came, and what comes next."""
        file = self.site / "file"
        make_file(file, self.size, seed="old")
        old = file.read_bytes()
        server = self.httpd()
        transfer = Transfer(server.network, server.url("/file"), "--limit-rate", "32M", keep=True)
        transfer.read(4 * MIB)
        change(file)
        transfer.finish()
        came = len(transfer.kept)
        self.assertTrue(old.startswith(transfer.kept), f"the {came} bytes that came are not the old file's first")
        if came == len(old):
            self.assertEqual(transfer.status, 0, transfer.message)
        else:
            self.assertNotEqual(transfer.status, 0, "curl took a part for the whole")
        self.note(f"{came * 100 // len(old)} % of the old bytes came, curl's status {transfer.status}")
        # The next one gets what is there now, and nothing of what was.
        if file.exists():
            now = file.read_bytes()
            again = Transfer(server.network, server.url("/file"), keep=True).finish()
            self.assertEqual(again.status, 0, again.message)
            self.assertEqual(again.length, len(now))
            self.assertTrue(again.kept == now, "the next download is not the new file")
        else:
            self.assertEqual(self.download(server, "/file", "-f").status, 22, "curl's status for a file that is gone")
        self.fetch(server, "/", *self.index())
        server.settle()

    def index(self):
        data = (self.site / "index.html").read_bytes()
        return hashlib.sha256(data).hexdigest(), len(data)

    def test_truncated(self):
        """The file loses its second half and more in mid-download."""
        self.change(lambda file: os.truncate(file, MIB))

    def test_truncated_to_nothing(self):
        """The file loses every byte in mid-download."""
        self.change(lambda file: os.truncate(file, 0))

    def test_replaced(self):
        """Another file of the same length takes its name in mid-download."""
        def replace(file):
            make_file(self.site / "new", self.size, seed="new")
            os.replace(self.site / "new", file)
        self.change(replace)

    def test_written_over(self):
        """Other bytes are written over the file, in place and of the same length, in mid-download."""
        def write_over(file):
            make_file(file, self.size, seed="new")
        self.change(write_over)

    def test_grown(self):
        """The file grows in mid-download: the answer has the length that was promised."""
        def grow(file):
            with open(file, "ab") as end:
                end.write(b"more" * MIB)
        self.change(grow)

    def test_deleted(self):
        """The file is deleted in mid-download."""
        self.change(os.unlink)


class Interrupted(Case):
    """Clients that go away."""

    def test_clients_killed(self):
        """Twenty curls are killed in mid-download; the server gives back all they held and serves the next."""
        sha256 = make_file(self.site / "file", 64 * MIB)
        server = self.httpd()
        running = [Transfer(server.network, server.url("/file"), "--limit-rate", "8M").read(MIB) for _ in range(20)]
        for transfer in running:
            transfer.process.send_signal(signal.SIGKILL)
            transfer.finish()
        self.fetch(server, "/file", sha256, 64 * MIB)
        server.settle()

    def test_stop_finishes_answers(self):
        """SIGTERM in mid-download: the answer under way is finished, new connections are refused, status 0."""
        sha256 = make_file(self.site / "file", 16 * MIB)
        server = self.httpd()
        transfer = Transfer(server.network, server.url("/file"), "--limit-rate", "8M").read(4 * MIB)
        server.process.send_signal(signal.SIGTERM)
        transfer.finish()
        self.assertEqual((transfer.status, transfer.sha256), (0, sha256), transfer.message)
        self.assertEqual(server.process.wait(10), 0)
