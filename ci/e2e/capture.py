"""What our lane puts on the wire, as tshark reads it: nothing to complain of."""

import re
import signal
import subprocess

from harness import KIB, MIB, Case, alone, make_file, run, until

# Severities as tshark writes them into its fields.
WARNING = 0x0060_0000
# What is not the sender's fault: it sent all that the receiver's window took.
NORMAL = ("TCP window specified by the receiver is now completely full",)
# A probe for loss follows what nothing answered for this long (`tlp_us_min`).
PROBE_SECONDS = 0.002
AGAIN = "tcp.analysis.retransmission or tcp.analysis.fast_retransmission or tcp.analysis.spurious_retransmission"


class Capture:
    """A capture of sequential curl runs on the client's side, its offloads off."""

    is_like_a_wire = True

    def capture(self, server, clients):
        """Runs `clients` with tcpdump beside them; returns the capture file. A frame that tcpdump drops fails."""
        network, file = server.network, self.folder / "capture.pcap"
        dump = network.client.start(
            "tcpdump", "-n", "-i", network.interface, "-B", 131072, "--immediate-mode", "-U", "-w", file, stderr=subprocess.PIPE
        )
        self.addCleanup(dump.kill)
        until(lambda: b"listening on" in dump.stderr.readline(), 10, "capture")
        try:
            clients()
        finally:
            dump.send_signal(signal.SIGINT)
            words = dump.stderr.read().decode()
            dump.wait()
            dump.stderr.close()
        self.assertRegex(words, r"\b0 packets dropped by kernel", "the capture is not whole")
        return file

    def tshark(self, file, display, *fields):
        """The fields of the frames that the filter shows."""
        looks = str(self.is_like_a_wire).upper()
        command = ["-r", file, "-o", f"tcp.check_checksum:{looks}", "-o", "ip.check_checksum:TRUE", "-Y", display, "-T", "fields"]
        # It takes parts of what is in a long segment for headers.
        command += [] if self.is_like_a_wire else ["--disable-protocol", "http"]
        for field in ("frame.number", *fields):
            command += ["-e", field]
        return [line.split("\t") for line in run("tshark", "-n", *command, timeout=120).stdout.splitlines()]

    def test_sequential_curl(self):
        """The server's frames hold no retransmission, no bad checksum and nothing that tshark warns of."""
        sizes = (1, 1448, 64 * KIB, 2 * MIB)
        sums = {size: make_file(self.site / str(size), size) for size in sizes}
        network = self.network()
        # On veth the kernel queues frames for each processor: a thread that moves would have its own reordered.
        server = self.httpd("--core", 0, network=network)
        network.offloads_off()

        def clients():
            for _ in range(5):
                for size in sizes:
                    self.fetch(server, f"/{size}", sums[size], size)
            network.client.run("ping", "-c", 2, "-i", 0.1, "-s", 3000, network.address)
            self.assertNotEqual(network.client.run("curl", "-sS", server.url().replace(":80/", ":81/"), check=False).returncode, 0)

        file = self.capture(server, clients)
        ours = f"ip.src == {network.address}"
        total = len(self.tshark(file, ours))
        self.assertGreater(total, 5 * sum(sizes) // 65536, "frames of the server in the capture")
        bad = self.tshark(
            file,
            f'{ours} and (ip.checksum.status == "Bad" or tcp.checksum.status == "Bad" or icmp.checksum.status == "Bad")',
        )
        self.assertEqual(bad, [], "frames with a bad checksum")
        self.assertEqual(self.tshark(file, f"eth.src != {network.client_mac} and _ws.malformed"), [], "malformed frames")
        self.check_retransmissions(server, file)
        # The refusal of the closed port is a reset, which tshark warns of.
        self.check_expert(self.tshark(file, f"{ours} and not tcp.srcport == 81", "_ws.expert.severity", "_ws.expert.message"), server)
        self.note(f"{total} frames of the server read")
        server.settle()

    def check_retransmissions(self, server, file):
        """None; but those that a stall of the lane explains, or that of the client, are told instead."""
        address = server.network.address
        frames = self.tshark(file, f"ip.src == {address} and ({AGAIN})", "frame.time_epoch", "tcp.stream", "tcp.seq", "tcp.nxtseq")
        frames = [frame for frame in frames if not self.is_answered_probe(file, address, *frame)]
        if not frames:
            return
        report = server.report()
        words = f"{len(frames)} retransmissions, in frames {', '.join(frame[0] for frame in frames[:10])}"
        if report.get("stalls", 0) == 0:
            self.fail(f"{words}, and the lane counted no stall")
        self.note(f"{words}; the lane counted {report['stalls']} stalls of up to {report.get('max_stall_us')} us")

    def is_answered_probe(self, file, address, number, at, stream, seq, end):
        """One segment, the last of all, went again to a client that was silent; and the client says it had that already.

        A client of which the processor was taken away is as silent as one that lost the segment.
        """
        same = f"tcp.stream == {stream} and frame.number"
        before = self.tshark(file, f"{same} < {number}", "frame.time_epoch", "ip.src", "tcp.nxtseq")
        heard = max((float(time) for _, time, source, _ in before if source != address), default=0)
        highest = max(int(edge) for _, _, source, edge in before if source == address)
        after = self.tshark(file, f"{same} > {number} and ip.dst == {address}", "tcp.options.sack.dsack_le", "tcp.options.sack.dsack_re")
        probed = float(at) - heard >= PROBE_SECONDS and int(end) == highest
        if not probed or not after or after[0][1:] != [seq, end]:
            return False
        self.note(f"frame {number} asks after a client silent for {1000 * (float(at) - heard):.1f} ms, which had it all")
        return True

    def check_expert(self, frames, server):
        """No error and no warning, but what is normal or explained above."""
        found = []
        for number, severities, messages in (frame for frame in frames if len(frame) == 3 and frame[1]):
            for severity, message in zip(severities.split(","), re.split(r",(?=[A-Z])", messages)):
                if int(severity, 0) >= WARNING and not message.startswith(NORMAL):
                    found.append(f"frame {number}: {message}")
        if found and server.report().get("stalls", 0):
            self.note(f"with a stall counted, tshark says: {found[:5]}")
            return
        self.assertEqual(found, [], "what tshark warns of in the server's frames")


@alone
class Tap(Capture, Case):
    """Frames have up to 64 KiB, and what is left to the kernel it does not fill in for a client on the same machine."""

    link = "tap"
    is_like_a_wire = False


@alone
class NetTap(Capture, Case):
    link = "net_tap"


@alone
class AfPacket(Capture, Case):
    link = "veth"
