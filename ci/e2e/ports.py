"""One server on two devices: each serves its own subnet, whatever becomes of the other."""

import types

from harness import KIB, MIB, Case, Network, Transfer, make_file, run, until

SECOND_NET = "10.78.0"


class TwoTaps(Case):
    link = "tap"

    def two(self, *options):
        """A server on the network's TAP and on another beside it, and how to reach it by each."""
        second = f"{self.id().rsplit('.', 1)[-1][-4:]}x{id(self) % 10_000}"[-15:]
        words = ["--device", f"tap:{second}", "--address", f"{SECOND_NET}.2/24@tap:{second}", "--listen", "0.0.0.0:80"]
        server = self.httpd(*words, *options)
        client = server.network.client.name
        run("ip", "-n", client, "link", "set", second, "address", "02:00:0a:4e:00:01")
        run("ip", "-n", client, "address", "add", f"{SECOND_NET}.1/24", "dev", second)
        run("ip", "-n", client, "link", "set", second, "up")
        return server, second, [f"http://{Network.address}", f"http://{SECOND_NET}.2"]

    def fetch(self, server, url):
        return Transfer(types.SimpleNamespace(client=server.network.client), url).finish()

    def check(self, server, url, size, sha256):
        got = self.fetch(server, f"{url}/{size}")
        self.assertEqual((got.status, got.message, got.length, got.sha256), (0, "", size, sha256), url)

    def test_both(self):
        """curl gets every byte over both TAPs, from two lanes, and ARP names each address on its own link alone."""
        sums = {size: make_file(self.site / str(size), size) for size in (1, 64 * KIB, 4 * MIB)}
        server, second, urls = self.two("--lanes", 2)
        for size, sha256 in sums.items():
            for url in urls:
                self.check(server, url, size, sha256)
        client = server.network.client
        known = run("ip", "-n", client.name, "neighbour", "show").stdout
        for address, interface in ((Network.address, server.network.interface), (f"{SECOND_NET}.2", second)):
            self.assertRegex(known, rf"(?m)^{address} dev {interface} lladdr ")
            done = client.run("arping", "-c", 2, "-W", 0.1, "-i", interface, address, check=False)
            self.assertIn("bytes from", done.stdout)
        strange = client.run("arping", "-c", 1, "-w", 0.3, "-i", second, "-S", f"{SECOND_NET}.1", Network.address, check=False)
        self.assertIn("Timeout", strange.stdout)
        self.assertIn(f"tap:{second}", server.ready)
        server.settle()

    def test_one_goes_down(self):
        """While one TAP's link is down the other serves on, and once it is up again so does the first."""
        size = 256 * KIB
        sha256 = make_file(self.site / str(size), size)
        server, second, urls = self.two()
        for url in urls:
            self.check(server, url, size, sha256)
        client = server.network.client.name
        run("ip", "-n", client, "link", "set", second, "down")
        for _ in range(5):
            self.check(server, urls[0], size, sha256)
        run("ip", "-n", client, "link", "set", second, "up")
        until(lambda: self.fetch(server, f"{urls[1]}/{size}").sha256 == sha256, 20, "answer on the link that came back")
        self.check(server, urls[0], size, sha256)
        server.settle()
