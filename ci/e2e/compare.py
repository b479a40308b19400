#!/usr/bin/env python3
"""Measures httpd and nginx side by side, in turns, over the same kind of link: veth, wrk on the other end.

Not a test: it asserts nothing but that wrk met no error. `ci/bench` calls it.
Usage: compare.py PROGRAMS
"""

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
from harness import KIB, Network, Program, make_file, run, start_nginx, until

ROUNDS, SECONDS = 3, 4
CONNECTIONS = (1, 64, 1000)


class Nginx:
    """nginx with one worker, as the other side of a veth link."""

    name = "nginx"

    def __init__(self, network, folder, site):
        run("ip", "-n", network.host.name, "address", "add", f"{network.address}/24", "dev", network.host.name)
        self.process = start_nginx(network.host, folder, site, 8192, "sendfile on; tcp_nopush on;")
        until(lambda: network.client.run("curl", "-so", "/dev/null", self.url(network), check=False).returncode == 0, 10, "nginx")

    def url(self, network, path="/"):
        return f"http://{network.address}{path}"

    def kill(self):
        self.process.kill()
        self.process.wait()


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid):
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()).group(1)) // KIB


def measure(kind, connections, folder, site, path):
    """One round: requests per second, microseconds of the server's processor each, MiB resident at most."""
    network = Network("tap" if kind == "httpd on TAP" else "veth")
    if kind == "nginx":
        server = Nginx(network, folder, site)
    else:
        server = Program("httpd", network, folder, root=site)
    try:
        url = f"http://{network.address}{path}"
        network.client.run("wrk", "-t", 1, "-c", connections, "-d", "1s", url)
        before = processor_seconds(server.process.pid)
        text = network.client.run("wrk", "-t", 1, "-c", connections, "-d", f"{SECONDS}s", url, timeout=60).stdout
        used = processor_seconds(server.process.pid) - before
        if re.search("Socket errors|Non-2xx", text):
            print(f"  {kind}: wrk met errors: {text}")
        requests = int(re.search(r"(\d+) requests in", text).group(1))
        rate = float(re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE).group(1))
        return rate, used / requests * 1e6, resident_mib(server.process.pid)
    finally:
        server.kill()
        network.delete()


def provenance():
    """What a figure depends on."""
    def said(*command):
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip()
    return "\n".join([
        f"commit {said('git', 'rev-parse', '--short', 'HEAD')}, {said('rustc', '--version')}",
        f"DPDK {said('pkg-config', '--modversion', 'libdpdk')}, {nginx}, Linux {os.uname().release}",
        f"{os.cpu_count()} processors, {processor.group(1) if processor else 'unknown'}; {time.strftime('%Y-%m-%d')}",
        f"median of {ROUNDS} rounds of {SECONDS} s, lowest to highest in brackets; huge pages: {harness.HUGE_PAGES}",
    ])


def main():
    harness.programs = Path(sys.argv[1])
    folder = Path(tempfile.mkdtemp(prefix="corelane-compare."))
    folder.chmod(0o755)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        site = folder / "site"
        site.mkdir()
        (site / "index.html").write_text("<!doctype html><title>small</title>\n")
        make_file(site / "64k", 64 * KIB)
        print(provenance())
        for path in ("/index.html", "/64k"):
            for connections in CONNECTIONS:
                print(f"\n{path}, {connections} connections")
                kinds = ("httpd on TAP", "httpd on AF_PACKET", "nginx")
                rounds = {kind: [] for kind in kinds}
                for _ in range(ROUNDS):
                    for kind in kinds:
                        rounds[kind].append(measure(kind, connections, folder, site, path))
                for kind, results in rounds.items():
                    rates, micros, memory = zip(*results)
                    print(
                        f"  {kind:20} {statistics.median(rates):9.0f} requests/s [{min(rates):.0f} to {max(rates):.0f}],"
                        f" {statistics.median(micros):7.1f} us of processor each, {max(memory)} MiB resident",
                        flush=True,
                    )
    finally:
        harness.release_all()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
