"""Goodput beside Linux: httpd and nginx send to the same kernel through the same lossy relay, CUBIC on both, in turns.

Alone, with a table and the same as JSON: `python3 ci/e2e/goodput.py PROGRAMS [FILE]`.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import harness
from harness import FULL, MIB, Case, Namespace, Program, alone, make_file, run, start_nginx, until

RELAY = Path(__file__).resolve().parent / "beside/relay.py"
# Loss in percent, and what is fetched: some ten seconds of it.
TRANSFERS = ((0.1, 24 * MIB), (1, 8 * MIB), (5, 2 * MIB))
ROUNDS = 5
SECONDS_MAX = 120


class LossyNetwork:
    """A server's namespace, a client's, and between them one that relays their frames."""

    kind, address, client_address = "veth", "10.77.0.2", "10.77.0.1"

    def __init__(self):
        self.client, self.host, self.middle = Namespace(), Namespace(), Namespace()
        self.device = f"af_packet:{self.host.name}"
        for namespace, side in ((self.host, "server"), (self.client, "client")):
            run(*f"ip -n {namespace.name} link add {namespace.name} type veth peer name {side} netns {self.middle.name}".split())
            # What is on the wire are segments, with their checksums.
            for feature in ("tx", "tso", "gso", "gro"):
                namespace.run("ethtool", "-K", namespace.name, feature, "off", check=False)
            run("ip", "-n", namespace.name, "link", "set", namespace.name, "up")
            run("ip", "-n", self.middle.name, "link", "set", side, "up")
        self.give(self.client, self.client_address)

    def give(self, namespace, address):
        """An address, and CUBIC for what is sent from it: a namespace does not get to choose what its connections begin with."""
        run("ip", "-n", namespace.name, "address", "add", f"{address}/24", "dev", namespace.name)
        run(*f"ip -n {namespace.name} route replace 10.77.0.0/24 dev {namespace.name} src {address} congctl cubic".split())

    def delete(self):
        for namespace in (self.client, self.host, self.middle):
            namespace.delete()


def fetch(network, path):
    """Fetches a file; the time from its first byte to its last, and how long it was."""
    with network.client.socket() as connection:
        connection.settimeout(SECONDS_MAX)
        connection.connect((network.address, 80))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: lossy\r\nConnection: close\r\n\r\n".encode())
        length, began = 0, None
        while data := connection.recv(256 * 1024):
            began = began or time.monotonic()
            length += len(data)
        return time.monotonic() - began, length


def measure(server, folder, site, percent, seed, path):
    """One transfer. Units: bytes a second; and what the relay has counted."""
    network = LossyNetwork()
    relay = network.middle.start(sys.executable, RELAY, "server", "client", percent, seed, stdout=subprocess.PIPE)
    try:
        assert relay.stdout.readline() == b"ready\n"
        os.setpriority(os.PRIO_PROCESS, relay.pid, -15)
        if server == "nginx":
            network.give(network.host, network.address)
            process = start_nginx(network.host, folder, site, 64, "sendfile on;")
            words = ("curl", "-so", "/dev/null", f"http://{network.address}/")
            until(lambda: network.client.run(*words, check=False).returncode == 0, 10, "nginx")
            program = None
        else:
            program = Program("httpd", network, folder, root=site)
            process = program.process
        os.setpriority(os.PRIO_PROCESS, process.pid, -15)
        seconds, length = fetch(network, path)
        relay.send_signal(signal.SIGTERM)
        counts = json.loads(relay.communicate(timeout=20)[0])
        if program:
            counts["ours"] = {name: program.report()["tcp"].get(name) for name in ("retransmits", "timeouts")}
            program.kill()
        else:
            process.kill()
            process.wait()
        return length / seconds, counts
    finally:
        relay.kill()
        relay.wait()
        network.delete()


def compare(folder, site, percent, size, rounds=ROUNDS):
    """Rounds in turns, each with a seed of its own for both. The table's row."""
    path = f"/{percent}"
    make_file(site / path[1:], size)
    figures = {"httpd": [], "nginx": []}
    for seed in range(rounds):
        for server in ("httpd", "nginx") if seed % 2 == 0 else ("nginx", "httpd"):
            rate, counts = measure(server, folder, site, percent, seed, path)
            figures[server].append(rate)
            print(f"  {percent} % seed {seed} {server}: {rate * 8 / 1e6:.2f} Mbit/s {counts}", file=sys.stderr, flush=True)
    ratios = [ours / theirs for ours, theirs in zip(figures["httpd"], figures["nginx"], strict=True)]
    return {
        "loss_percent": percent,
        "bytes": size,
        "httpd_mbit": [round(rate * 8 / 1e6, 2) for rate in figures["httpd"]],
        "linux_mbit": [round(rate * 8 / 1e6, 2) for rate in figures["nginx"]],
        "ratios": [round(ratio, 3) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 3),
    }


def text_of(row):
    return (
        f"{row['loss_percent']:4} % loss: httpd {statistics.median(row['httpd_mbit']):6.2f} Mbit/s, Linux"
        f" {statistics.median(row['linux_mbit']):6.2f}; ratios {row['ratios']}, median {row['median_ratio']}"
    )


@alone
class Goodput(Case):
    """Five rounds in turns; what counts is the median of their ratios."""

    long = 400
    seconds = 1_500

    @unittest.skipUnless(FULL, "takes minutes; ci/test --full has it")
    def test_beside_linux(self):
        """At 0.1 and at 1 % loss no less than Linux; at 5 % it is told."""
        for percent, size in TRANSFERS:
            row = compare(self.folder, self.site, percent, size)
            self.note(text_of(row))
            if percent <= 1:
                self.assertGreaterEqual(row["median_ratio"], 1.0, text_of(row))


def main():
    harness.programs = Path(sys.argv[1])
    folder = Path(tempfile.mkdtemp(prefix="corelane-goodput."))
    folder.chmod(0o755)
    try:
        site = folder / "site"
        site.mkdir()
        (site / "index.html").write_text("<!doctype html><title>lossy</title>\n")
        rows = []
        for percent, size in TRANSFERS:
            rows.append(compare(folder, site, percent, size))
            print(text_of(rows[-1]), flush=True)
        if len(sys.argv) > 2:
            Path(sys.argv[2]).write_text(json.dumps(rows, indent=2) + "\n")
    finally:
        harness.release_all()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
