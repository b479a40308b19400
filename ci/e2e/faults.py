"""Over a link that loses, delays, reorders, doubles and corrupts frames, every byte arrives in time."""

import random

from harness import FULL, MIB, Case, make_file

SECONDS_MAX = 120
SEEDS = (7, 8, 9) if FULL else (7,)


class Faults(Case):
    """The faults are ours, seeded, between the lane and its port, in both directions."""

    long = 33
    seconds = 3 * SECONDS_MAX * len(SEEDS)

    def spec(self, loss, seed):
        return f"loss={loss},delay=1ms,reorder=10,duplicate=1,corrupt=1,seed={seed}"

    def fetch_over(self, loss):
        """10 MiB by curl."""
        sha256 = make_file(self.site / "file", 10 * MIB)
        for seed in SEEDS:
            server = self.httpd("--faults", self.spec(loss, seed))
            got = self.fetch(server, "/file", sha256, 10 * MIB, timeout=SECONDS_MAX)
            tcp = server.report()["tcp"]
            self.assertGreater(tcp["retransmits"], 0, "no frame was lost or corrupted: the faults did nothing")
            self.note(f"seed {seed}: 10 MiB in {got.seconds:.1f} s, {tcp['retransmits']} retransmissions")
            server.settle(seconds=60)
            server.stop()

    def test_no_loss(self):
        """10 MiB come byte-exact with reordering, duplication and corruption, at 0 % loss."""
        self.fetch_over(0)

    def test_loss_1(self):
        """10 MiB come byte-exact with reordering, duplication and corruption, at 1 % loss each way."""
        self.fetch_over(1)

    def test_loss_5(self):
        """10 MiB come byte-exact with reordering, duplication and corruption, at 5 % loss each way."""
        self.fetch_over(5)

    def test_upload(self):
        """2 MiB to the echo example and back, at 1 % loss each way: what was corrupted is never taken."""
        data = random.Random(2).randbytes(2 * MIB)
        server = self.echo("--faults", self.spec(1, 7))
        connection = self.connect(server, timeout=SECONDS_MAX)
        back = self.converse(connection, data)
        self.assertTrue(back == data, f"what came back differs: {len(back)} bytes")
        self.assertGreater(server.report()["drops"].get("tcp_checksum", 0), 0, "no frame was corrupted: the faults did nothing")
        server.settle(seconds=60)
