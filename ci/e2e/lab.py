"""httpd on NICs that move bytes by DMA: an emulated Intel 82576 and virtio, each in a guest behind an IOMMU.

Each class boots one guest, which all of its tests use. How fast something is proves nothing here: all is emulated.
"""

import re
import tempfile
import time
from pathlib import Path

import harness
from capture import Capture
from guest import Guest
from harness import FULL, KIB, MIB, Case, Transfer, make_file, until
from reach import Reach
from vlan import VLAN, Vlan

SIZES = (1, 1447, 1448, 1449, 64 * KIB, MIB, 10 * MIB)
OUTAGE_SECONDS = 1.5
WRK_SECONDS = 10 if FULL else 4


class InGuest(Case):
    """Tests that share a guest, booted for the first of them and ended by `test_zz_end`, the last of the class's."""

    long, nic, mtu, queues, options = 40, "igb", 1500, 1, ()
    guest, failure, huge_pages = None, None, 160

    @classmethod
    def boot(cls):
        folder = Path(tempfile.mkdtemp(dir=harness.scratch))
        cls.lab_site = folder / "site"
        cls.lab_site.mkdir()
        (cls.lab_site / "index.html").write_text("<!doctype html><title>e2e</title><p>Hello.\n")
        (cls.lab_site / "folder").mkdir()
        (cls.lab_site / "folder" / "file").touch()
        cls.sums = {size: make_file(cls.lab_site / str(size), size) for size in SIZES}
        cls.guest = Guest(folder, cls.lab_site, cls.nic, cls.mtu, cls.queues, cls.options, cls.huge_pages)

    def setUp(self):
        super().setUp()
        if self.failure:
            self.skipTest("the guest did not come up, as told above")
        if self.guest is None:
            try:
                self.boot()
            except BaseException:
                type(self).failure = True
                raise
            self.note(f"booted in {self.guest.boot_seconds:.0f} s")
        self.site = self.lab_site

    @classmethod
    def tearDownClass(cls):
        if cls.guest is not None:
            cls.guest, guest = None, cls.guest
            if guest in harness.Program.alive:
                guest.kill()

    def httpd(self, *_):
        return self.guest


class Always:
    """What holds on each NIC, whatever the length of its frames."""

    def test_sizes(self):
        """curl fetches 1 byte to 10 MiB, with the SHA-256 of the file on disk."""
        before = self.guest.report()
        for size in SIZES:
            with self.subTest(size=size):
                self.fetch(self.guest, f"/{size}", self.sums[size], size)
        self.check_reach(before, self.guest.settle(), sum(SIZES))

    def check_reach(self, before, report, payload):
        """All that was sent lay in memory mapped for the port or was copied into such; copies would not be free."""
        copied, attached = (report[name] - before[name] for name in ("copied_bytes", "attached_bytes"))
        self.assertGreaterEqual(attached + copied, payload)
        self.assertEqual(copied, 0, "payload bytes copied, with huge pages to spare")
        self.assertNotRegex(self.guest.kernel_file.read_text() if self.guest.kernel_file.exists() else "", "DMAR:.*fault")

    def test_zz_end(self):
        """SIGTERM ends the server in order, and the IOMMU has seen no access that was not allowed."""
        self.guest.stop()
        kernel = self.guest.kernel_file.read_text()
        self.assertRegex(kernel, "Power down", "the kernel's log is not whole")
        self.assertNotRegex(kernel, "DMAR:.*fault")


class Served(Always, Reach, Capture):
    """The whole of it."""

    # They make files while the server runs.
    test_sequential_curl = None

    def test_wrk_64(self):
        """wrk with 64 kept-alive connections meets no error."""
        url = self.guest.url()
        words = ["wrk", "-t", 1, "-c", 64, "-d", f"{WRK_SECONDS}s", "--timeout", "10s", url]
        text = self.guest.network.client.run(*words, timeout=WRK_SECONDS + 60).stdout
        self.assertNotRegex(text, "Socket errors|Non-2xx")
        requests = int(re.search(r"(\d+) requests in", text).group(1))
        self.assertGreater(requests, 64, text)
        self.note(f"wrk, 64 connections: {requests} requests in {WRK_SECONDS} s")
        self.guest.settle()

    def test_checksums(self):
        """On the wire all checksums of the server are right, whoever fills them in, and nothing is malformed."""
        before = self.guest.report()

        def clients():
            for size in (1, 1449, 64 * KIB, MIB):
                self.fetch(self.guest, f"/{size}", self.sums[size], size)
            self.guest.network.client.run("ping", "-c", 2, "-i", 0.1, "-s", 3000, self.guest.network.address)

        file = self.capture(self.guest, clients)
        ours = f"ip.src == {self.guest.network.address}"
        frames = self.tshark(file, f"{ours} and tcp", "tcp.checksum.status", "frame.len")
        self.assertGreater(len(frames), MIB // 1460)
        # 1 is tshark's "good"; 2 would be "not looked at".
        self.assertEqual([frame for frame in frames if frame[1] != "1"], [], "TCP checksums that are not good")
        self.assertEqual(self.tshark(file, f'{ours} and (ip.checksum.status != "Good")'), [], "IP checksums that are not good")
        self.assertEqual(self.tshark(file, f'{ours} and icmp.checksum.status == "Bad"'), [])
        self.assertEqual(self.tshark(file, "_ws.malformed"), [], "malformed frames")
        self.assertLessEqual(max(int(frame[2]) for frame in frames), self.mtu + 14)
        tcp = self.guest.report()["tcp"]
        sent, bundled = (tcp[name] - before["tcp"][name] for name in ("segments_sent", "bundled_segments"))
        # Virtio has no segmentation without its host's help.
        self.assertEqual(bundled > sent / 4, self.nic == "igb", f"{bundled} of {sent} segments were left to the port to cut")
        self.note(f"{sent} segments, {bundled} of them for the port to cut; {len(frames)} were on the wire")
        self.guest.settle()

    def test_link_flap(self):
        """The link goes for seconds in mid-transfer: nothing comes meanwhile, then the transfer goes on to its end."""
        size = 10 * MIB
        transfer = Transfer(self.guest.network, self.guest.url(f"/{size}"), "--limit-rate", "4M", timeout=90)
        transfer.read(2 * MIB)
        self.addCleanup(self.guest.network.set_link, "on")
        for _ in range(2):
            self.guest.network.set_link("off")
            until(lambda: not self.is_answered(), 10, "outage")
            up = time.monotonic() + OUTAGE_SECONDS
            until(lambda: time.monotonic() > up, OUTAGE_SECONDS + 1, "end of the outage")
            self.assertFalse(self.is_answered(), "an answer over a link that is down")
            self.guest.network.set_link("on")
            transfer.read(2 * MIB)
        transfer.finish()
        if transfer.status:
            self.note(f"the server's counters then: {self.guest.report()}")
        self.assertEqual((transfer.status, transfer.message, transfer.length), (0, "", size))
        self.assertEqual(transfer.sha256, self.sums[size])
        report = self.guest.settle()
        self.assertGreater(report["tcp"]["retransmits"], 0, "no segment was lost, so the link was never down")
        self.note(f"{transfer.seconds:.1f} s with two outages of more than {OUTAGE_SECONDS} s")

    def is_answered(self):
        """Whether a ping comes back within a second."""
        command = ["ping", "-n", "-c", 1, "-W", 1, self.guest.network.address]
        return self.guest.network.client.run(*command, check=False).returncode == 0


class Igb(Served, InGuest):
    """Two queues, filled by the port's RSS, and two lanes that take turns on one thread."""

    nic, queues, options = "igb", 2, ("--lanes", "2", "--threads", "1", "--listing")

    def test_heap(self):
        """A listing lies on the heap, which the port cannot reach: it is copied, and arrives whole."""
        before = self.guest.report()
        page = self.guest.network.client.run("curl", "-sS", "-f", self.guest.url("/folder/")).stdout
        self.assertIn("<!doctype html>", page)
        self.assertIn("file", page)
        copied = self.guest.settle()["copied_bytes"] - before["copied_bytes"]
        self.assertGreaterEqual(copied, len(page) // 2, "bytes of the heap went to the port as they lay")

    def test_rss(self):
        """Both lanes take connections by the port's RSS, and every hash is the one that its key gives."""
        before = self.guest.report()["lanes"]
        for _ in range(24):
            self.fetch(self.guest, "/1447", self.sums[1447], 1447)
        report = self.guest.settle()
        lanes = report["lanes_each"]
        accepted = [lane["tcp"]["accepted"] for lane in lanes]
        self.assertGreater(min(accepted), 0, f"lanes accepted {accepted}")
        self.assertGreater(report["lanes"]["rss_compared"], 48)
        self.assertEqual(report["lanes"]["rss_differed"], 0, report["lanes"])
        # Fragments, of other tests, do change lanes.
        self.assertEqual(report["lanes"]["steered_in"], before["steered_in"], "frames on the wrong queue")
        self.note(f"lanes accepted {accepted}, {report['lanes']['rss_compared']} hashes compared")


class Virtio(Served, InGuest):
    nic = "virtio"


class Jumbo(Always, Capture):
    """Frames of 9,000 bytes, either way: longer than one frame's memory, so received into several."""

    mtu = 9000
    test_sequential_curl = None

    def test_both_ways(self):
        """A request of 6 KB comes in one frame, ping's 9 KB go there and back; 1 MiB goes in frames of 9,000 bytes, with good checksums."""
        header = f"X-Long: {'x' * 6000}"
        ping = ["ping", "-n", "-c", 3, "-l", 3, "-W", 5, "-M", "do", "-s", 8900, self.guest.network.address]
        self.assertIn("3 received, 0% packet loss", self.guest.network.client.run(*ping, check=False).stdout)

        def clients():
            self.fetch(self.guest, f"/{MIB}", self.sums[MIB], MIB, "-H", header)

        file = self.capture(self.guest, clients)
        frames = self.tshark(file, "tcp", "ip.src", "frame.len", "tcp.checksum.status")
        longest = {source: max(int(frame[2]) for frame in frames if frame[1] == source) for source in {frame[1] for frame in frames}}
        self.assertGreater(longest[self.guest.network.client_address], 6000)
        self.assertEqual(longest[self.guest.network.address], self.mtu + 14)
        self.assertEqual([frame for frame in frames if frame[1] == self.guest.network.address and frame[3] != "1"], [])
        self.guest.settle()


class IgbJumbo(Jumbo, InGuest):
    nic = "igb"

    def test_wakes(self):
        """A lane that sleeps is woken by the port's interrupts: by each ping after a pause."""
        pings, before = 10, self.guest.report()["rests"]
        command = ["ping", "-n", "-c", pings, "-i", 0.3, "-W", 5, self.guest.network.address]
        text = self.guest.network.client.run(*command, check=False, timeout=60).stdout
        self.assertIn(f"{pings} received", text)
        rests = self.guest.report()["rests"]
        woken = rests["woken"] - before["woken"]
        self.note(f"woken {woken} times by {pings} pings and a signal; longest sleep {rests['max_us']} us; {text.splitlines()[-1]}")
        # One may come as a sleep ends by itself.
        self.assertGreaterEqual(woken, pings - 1, rests)


class VirtioJumbo(Jumbo, InGuest):
    nic = "virtio"


class IgbVlan(Vlan, InGuest):
    """The port writes the tags of frames that leave, which the engine leaves to it, and takes those of others off."""

    nic, options = "igb", ("--vlan", VLAN)
    test_no_vlan = None

    def make_files(self):
        return {size: self.sums[size] for size in (1, 64 * KIB, MIB)}

    def test_zz_end(self):
        """SIGTERM ends the server in order."""
        self.guest.stop()
