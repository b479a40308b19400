"""A web server in the lab's guest, in the harness's terms: one of our programs, on a NIC that QEMU emulates.

What the guest is made of is told in `ci/lab`; the tests that use it are in `lab.py`.
"""

import json
import math
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import harness
from harness import Namespace, Program, die_with_parent, libc, PR_SET_PDEATHSIG, run, until

LAB = Path(__file__).resolve().parents[1] / "lab"
# Emulation is slow, and other tests or builds may share the machine.
BOOT_SECONDS = 170
LIFE_SECONDS = 600
DESCRIPTORS = 512


class Peer(Namespace):
    """The namespace with the other end of the guest's wire. It belongs to the lab, which deletes it."""

    def __init__(self, name):
        self.name, self.file = name, Path("/run/netns") / name


class Wire:
    """What the harness calls a network, seen from the other end of the guest's wire."""

    kind = "lab"
    address, client_address, client_mac = harness.Network.address, harness.Network.client_address, harness.Network.client_mac

    def __init__(self, variables):
        self.client = Peer(variables["LAB_NAMESPACE"])
        self.interface = variables["LAB_TAP"]
        self.switch = Path(variables["LAB_WIRE"])

    def set_link(self, state):
        """Takes the link "off" or "on"."""
        with open(self.switch, "w") as switch:
            switch.write(f"{state}\n")


def end_with_parent():
    """As the harness's, but with the signal that lets the lab clean up."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Guest(Program):
    """httpd in a guest, from its ready line to its end."""

    name, port = "httpd", 80

    def __init__(self, folder, root, nic, mtu=1500, queues=1, options=(), huge_pages=160):
        self.output_file, self.error_file = folder / "output.txt", folder / "errors.txt"
        self.queues = queues
        self.kernel_file, self.capture_file = folder / "kernel.txt", folder / "capture.pcap"
        variables = folder / "variables"
        command = [LAB, "--nic", nic, "--mtu", mtu, "--huge-pages", huge_pages, "--time-out", LIFE_SECONDS, "--copy", root]
        command += ["--kernel-log", self.kernel_file, "--ready", "^httpd: .* at ", "--verbose"]
        command += ["--queues", queues] if nic == "virtio" else []
        # The command beside the program says where things are, and ends when we close its input.
        command += ["--while", f"env >{variables}.new && mv {variables}.new {variables} && exec cat"]
        command += ["--", harness.programs / "httpd", "--device", "0000:00:04.0", "--address", "10.77.0.2/24", "--root", root]
        command += ["--mtu", mtu, "--descriptors", DESCRIPTORS, "--json-report", "-", *options]
        began = time.monotonic()
        with open(self.output_file, "wb") as output, open(self.error_file, "wb") as errors:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE, stdout=output, stderr=errors, preexec_fn=end_with_parent,
            )
        Program.alive.add(self)

        def is_up():
            assert self.is_running(), f"the lab ended with {self.process.returncode}: {self.errors()}"
            return variables.exists()

        try:
            until(is_up, BOOT_SECONDS, lambda: f"guest that serves: {self.errors()}")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self.last_words()}") from None
        self.boot_seconds = time.monotonic() - began
        self.variables = dict(line.split("=", 1) for line in variables.read_text().splitlines() if "=" in line)
        self.network = Wire(self.variables)
        self.start = self.report()

    def last_words(self):
        """What kernel and program said last, once the lab has ended."""
        texts = []
        for file in (self.kernel_file, self.output_file, self.error_file):
            lines = file.read_text(errors="replace").splitlines() if file.exists() else ["(no such file)"]
            texts.append(f"{file.name} ends:\n" + "\n".join(lines[-30:]))
        return "\n".join(texts)

    def processor_seconds(self):
        """Not known of a guest."""
        return math.nan

    def reports(self):
        """All that the program has written so far, oldest first. A line that is not whole yet is left out."""
        whole = self.output_file.read_text(errors="replace").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if re.fullmatch(r'\{"lane":.*\}\r?', line)]

    def report(self):
        """The counters now."""
        assert self.is_running(), f"the lab ended with {self.process.returncode}: {self.errors()}"
        known = len(self.reports())
        with open(self.variables["LAB_SIGNALS"], "w") as signals:
            signals.write("USR1\n")
        return until(lambda: self.reports()[known:], 60, lambda: f"report from the guest\n{self.last_words()}")[-1]

    def settle(self, seconds=20, resting=False):
        """Waits until connections, sockets and what they held have gone. Frames that were sent may rest in the ring."""
        names = ("flows", "half_open", "sockets", "held_frames", "lent", "backlog")
        rings = DESCRIPTORS * self.queues
        kept = {"receive": 0, "control": rings, "attach": rings}
        report = {}

        def differences():
            report.update(self.report())
            wrong = {name: report[name] for name in names if report[name] != self.start[name]}
            for pool, count in kept.items():
                gone = self.start["pools"][pool]["available"] - report["pools"][pool]["available"]
                if gone > count:
                    wrong[pool] = f"{gone} frames missing"
            return wrong

        until(lambda: not differences(), seconds, lambda: f"return to what it was: {differences()}")
        return report

    def stop(self):
        """Ends the program in order. The lab fails if the port reached for memory that it had no mapping for."""
        Program.alive.discard(self)
        if self.is_running():
            self.process.stdin.close()
        status = self.process.wait(60)
        assert status == 0, f"the lab ended with {status}: {self.errors()[-4000:]}"
        assert "panicked" not in self.errors(), self.errors()
        last = self.reports()[-1]
        left = {name: last[name] for name in self.COUNTS if last[name]}
        assert not left, f"{self.name} closed with {left}"

    def kill(self):
        """Ends the lab, which takes the guest with it."""
        Program.alive.discard(self)
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(30)
