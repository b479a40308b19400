"""The relay of `ci/serve`: bytes, ends and resets pass from the host into the namespace and back."""

import random
import socket
import subprocess
import sys
from pathlib import Path

import harness
from harness import MIB, Case

RELAY = Path(__file__).resolve().parents[1] / "relay.py"


class Relay(Case):
    """Against the echo example."""

    def relay(self, server):
        """Starts it; returns where it listens."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = free.getsockname()
        command = [sys.executable, RELAY, *address, server.network.client.file, server.network.address, server.port]
        process = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=harness.die_with_parent
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), b"ready\n", "the relay's ready line")
        return address

    def test_half_close(self):
        """16 MiB go through and come back, and only then the end that we gave."""
        server = self.echo()
        address = self.relay(server)
        data = random.Random(5).randbytes(16 * MIB)
        connection = socket.create_connection(address, timeout=30)
        back = self.converse(connection, data)
        self.assertTrue(back == data, f"{len(back)} bytes came back, or others")
        server.settle()

    def test_many(self):
        """500 connections, one after the other, each with its own answer."""
        server = self.echo()
        address = self.relay(server)
        for number in range(500):
            with socket.create_connection(address, timeout=10) as connection:
                connection.sendall(b"%d" % number)
                connection.shutdown(socket.SHUT_WR)
                back = b""
                while chunk := connection.recv(100):
                    back += chunk
                self.assertEqual(back, b"%d" % number)
        server.settle()

    def test_port_taken(self):
        """A port of the host that is taken: one line says so."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            command = [sys.executable, RELAY, "127.0.0.1", str(taken.getsockname()[1]), "/proc/self/ns/net", "127.0.0.1", "9"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertIn("Address already in use", done.stderr)
