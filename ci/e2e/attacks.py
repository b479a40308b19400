"""What strangers try: a flood of SYNs from random sources beside those who mean it, and nmap's questions.

The flood is hping3's, over the same link as everything else. What it costs is told against the same flood at an address
that is not ours, in turns: so both find the same machine.
"""

import math
import re
import socket
import statistics
import threading
import time
from pathlib import Path

from harness import FULL, KIB, MIB, Case, Transfer, alone

# Seconds of each turn, and turns with each target.
TURN_SECONDS, TURNS = (5, 6) if FULL else (2, 3)
CLIENTS_A_SECOND = 25
CONNECT_SECONDS = 4


def resident_bytes(program):
    """Memory the process has resident now. Huge pages are not in it."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * KIB


class Clients:
    """Connects again and again from the client's namespace, for a while, and keeps how long each connect took."""

    def __init__(self, program, seconds):
        self.program, self.seconds, self.times = program, seconds, []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        began, threads = time.monotonic(), []
        for number in range(int(self.seconds * CLIENTS_A_SECOND)):
            time.sleep(max(0.0, began + number / CLIENTS_A_SECOND - time.monotonic()))
            threads.append(threading.Thread(target=self.connect))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def connect(self):
        """One client: it connects, asks, and has its answer."""
        began = time.monotonic()
        with self.program.network.client.socket() as connection:
            connection.settimeout(CONNECT_SECONDS)
            try:
                connection.connect((self.program.network.address, self.program.port))
                self.times.append(time.monotonic() - began)
            except OSError:
                self.times.append(None)
                return
            connection.settimeout(30)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: e2e\r\nConnection: close\r\n\r\n")
            while connection.recv(64 * KIB):
                pass

    def finish(self):
        self.thread.join()
        return self.times


class Download:
    """A transfer that goes on until it is told to stop, and the bytes of it so far."""

    def __init__(self, program, path, *options):
        self.transfer = Transfer(program.network, program.url(path), *options, timeout=300)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while self.length < self.transfer.read(1).length:
            self.length = self.transfer.length

    length = 0

    def stop(self):
        if self.transfer.process.poll() is None:
            self.transfer.process.terminate()
            self.thread.join()
            self.transfer.finish()


@alone
class SynFlood(Case):
    # An address of the lane's subnet that is nobody's.
    NOBODY = "10.77.0.77"

    def test_flood(self):
        """hping3 -S -i u20 --rand-source: 99 % of clients connect, memory stays; what a transfer keeps is told, not asserted."""
        # Longer than anything can be sent meanwhile, and sparse.
        with open(self.site / "large", "wb") as file:
            file.truncate(1 << 40)
        # Answers to strangers go somewhere: the kernel there drops what is for nobody.
        server = self.httpd("--gateway", "10.77.0.1")
        client = server.network.client
        self.assertEqual(self.download(server, "/").status, 0)
        mac = client.run("ip", "neigh", "show", server.network.address).stdout.split("lladdr ")[1].split()[0]
        client.run("ip", "neigh", "replace", self.NOBODY, "lladdr", mac, "dev", server.network.interface, "nud", "permanent")
        download = Download(server, "/large")
        self.addCleanup(download.stop)
        rates, times, memory = {self.NOBODY: [], server.network.address: []}, [], []
        for _ in range(TURNS):
            for target, found in rates.items():
                rate, connects = self.turn(server, target, download)
                found.append(rate)
                if target != self.NOBODY:
                    times += connects
                    memory.append(resident_bytes(server))
        report = server.report()
        download.stop()
        tcp = report["tcp"]
        control, flooded = (statistics.mean(found) for found in rates.values())
        inside = sorted(one for one in times if one is not None)
        self.note(
            f"transfer {flooded / MIB:.1f} MiB/s, control {control / MIB:.1f}: {100 * flooded / control:.1f} %;"
            f" {len(inside)} of {len(times)} clients connected, the last after {1e3 * inside[-1]:.0f} ms;"
            f" {tcp['cookies_sent']} cookies sent, {tcp['cookies_accepted']} accepted;"
            f" resident after each flood {', '.join(f'{one / MIB:.1f}' for one in memory)} MiB"
        )
        self.assertGreater(tcp["cookies_sent"], 1000 * TURN_SECONDS, "the flood is one")
        self.assertGreaterEqual(len(inside), 0.99 * len(times), "clients that connected in time")
        # A SYN that was remembered would cost 200 bytes: of a flood's tens of thousands this much would be seen.
        self.assertLessEqual(memory[-1], memory[0] + 2 * MIB, "resident bytes")
        self.assertLessEqual(report["half_open"], 4096)
        # Half-open connections are forgotten after a minute; that they are given back shows in the end of the program.

    def turn(self, server, target, download):
        """Floods a target for a while. Returns the transfer's rate and what became of the clients."""
        words = ("hping3", "-q", "-n", "-S", "-p", server.port, "-i", "u20", "--rand-source", target)
        flood = server.network.client.start(*words, stdout=-3, stderr=-3)
        try:
            # It finds its pace, and the transfer its own.
            time.sleep(0.5)
            clients = Clients(server, TURN_SECONDS)
            before, began = download.length, time.monotonic()
            time.sleep(TURN_SECONDS)
            rate = (download.length - before) / (time.monotonic() - began)
            return rate, clients.finish()
        finally:
            flood.terminate()
            flood.wait()


@alone
class Nmap(Case):
    """What nmap makes of the answers to its probes."""

    OPEN, CLOSED = 80, 81

    def nmap(self, server, *options):
        words = ("nmap", "-n", "-Pn", "-p", f"{self.OPEN},{self.CLOSED}", *options, server.network.address)
        return server.network.client.run(*words, timeout=120).stdout

    def states(self, server, option):
        """The states of the open and of the closed port, as a kind of probe sees them."""
        text = self.nmap(server, option)
        found = dict(re.findall(r"^(\d+)/tcp +(\S+)", text, re.MULTILINE))
        return found.get(str(self.OPEN)), found.get(str(self.CLOSED))

    def test_probes(self):
        """NULL, FIN, Xmas and ACK probes at an open and a closed port get the answers of RFC 9293 section 3.10.7."""
        server = self.httpd()
        # What has neither ACK, RST nor SYN moves no listener; what nobody listens for is reset, and so is any ACK.
        for option in ("-sN", "-sF", "-sX"):
            self.assertEqual(self.states(server, option), ("open|filtered", "closed"), option)
        self.assertEqual(self.states(server, "-sA"), ("unfiltered", "unfiltered"))
        self.assertEqual(self.states(server, "-sS"), ("open", "closed"))
        # FIN and ACK.
        self.assertEqual(self.states(server, "-sM"), ("closed", "closed"))

    def test_sequence_numbers(self):
        """nmap -O -v -d: sequence numbers as hard to predict as Linux's, with cookies too, and probes answered as they should be."""
        for cookies, options in (("when full", ()), ("always", ("--syn-cookies", "always"))):
            with self.subTest(cookies):
                server = self.httpd(*options)
                # Of six numbers drawn at random all differences have a common divisor in one of 28 runs, and seldom the
                # same one twice: what divides the numbers of one run after the other is no chance.
                divisor = 0
                for _ in range(5):
                    text = self.nmap(server, "-O", "-v", "-d", "--max-os-tries", 1)
                    self.assertIn("Good luck!", text)
                    prints = {name: dict(re.findall(r"(\w+)=([^%)]*)", body)) for name, body in self.fingerprint(text)}
                    seq = prints["SEQ"]
                    self.note(f"cookies {cookies}: {seq}")
                    divisor = math.gcd(divisor, int(seq["GCD"], 16))
                    if divisor == 1:
                        break
                self.assertEqual(divisor, 1)
                # Identifications of what cannot be cut are all zero, or tell nothing of others: Z or RI or RD.
                self.assertIn(seq["TI"], ("Z", "RD", "RI"))
                self.assertIn(seq["CI"], ("Z", "RD", "RI"))
                self.assertIn(seq["II"], ("Z", "I", "RI", "RD"))
                # T2: nothing set, open. T4, T6: ACK, open and closed. T5, T7: SYN; FIN, PSH and URG, closed.
                self.assertEqual(prints["T2"]["R"], "N")
                for name, number, ack, flags in (("T4", "A", "Z", "R"), ("T5", "Z", "S+", "AR"), ("T6", "A", "Z", "R"), ("T7", "Z", "S+", "AR")):
                    found = {key: prints[name].get(key) for key in ("R", "S", "A", "F")}
                    self.assertEqual(found, {"R": "Y", "S": number, "A": ack, "F": flags}, name)
                server.settle(seconds=30)

    @staticmethod
    def fingerprint(text):
        """The lines of a fingerprint, wherever in the output it stands, and however it was wrapped."""
        joined = re.sub(r"\nOS:", "", text)
        found = re.findall(r"\b(SEQ|OPS|WIN|ECN|T[1-7]|U1|IE)\(([^)]*)\)", joined)
        assert found, f"nmap prints no fingerprint: {text}"
        return found
