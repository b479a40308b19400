"""loadgen opens thousands of connections to nginx and to our own httpd, and counts what they count."""

import json
import re
import signal
import subprocess
import time

import harness
from harness import HUGE_PAGES, MIB, Case, Transfer, alone, make_file, no_huge_words, run, start_nginx, until

CONNECTIONS = 10_000


class Loader:
    """loadgen on a network, started and not awaited."""

    def __init__(self, network, target, *options, address=None):
        # The target stands first: behind `--no-huge` it would be taken for an amount of memory.
        command = [harness.programs / "loadgen", target, *harness.everywhere, "--device", network.device, "--address", f"{address or network.address}/24"]
        command += ["--json", "-", *options, *([] if HUGE_PAGES else no_huge_words(options))]
        self.network = network
        self.process = network.host.start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def join(self):
        """Sets the other side of a TAP up, which is there once loadgen is."""
        until(lambda: self.network.interface in self.network.client.links(), 20, "TAP of loadgen")
        self.network.join()
        return self

    def finish(self, timeout=60):
        """Returns its results, its exit status and its last words."""
        try:
            out, self.errors = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"loadgen did not end: {self.process.communicate()}") from None
        self.status = self.process.returncode
        self.results = json.loads(out) if out else None
        return self


def make_certificate(folder):
    """Writes a certificate of `load.test`, and its key."""
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2,
        "-subj", "/CN=load.test", "-addext", "subjectAltName=DNS:load.test", "-addext", "basicConstraints=critical,CA:FALSE",
        "-keyout", folder / "key.pem", "-out", folder / "cert.pem")


class Nginx:
    """nginx with one worker on the kernel's side of a network, over HTTP on 80 and HTTPS on 443."""

    def __init__(self, case, network):
        folder, self.network = case.folder, network
        self.certificate = folder / "cert.pem"
        make_certificate(folder)
        more = (
            f"listen 443 ssl backlog=4096; ssl_certificate {self.certificate}; ssl_certificate_key {folder}/key.pem;"
            " location = /status { stub_status; }"
        )
        self.process = start_nginx(network.client, folder, case.site, 20_000, more)
        case.addCleanup(self.kill)
        until(lambda: self.counts(), 10, "nginx")

    def counts(self):
        """Connections accepted so far, this one included; none if it does not answer."""
        done = self.network.client.run("curl", "-s", "http://127.0.0.1/status", check=False)
        found = re.search(r"^ (\d+) (\d+) (\d+)", done.stdout, re.MULTILINE)
        return int(found.group(1)) if found else None

    def kill(self):
        self.process.kill()
        self.process.wait()


@alone
class Tap(Case):
    link = "tap"

    def load(self, path, *options, network=None, target=None):
        """Runs loadgen against nginx to its end."""
        network = network or self.network()
        nginx = Nginx(self, network)
        before = nginx.counts()
        target = target or f"http://{network.client_address}{path}"
        loader = Loader(network, target, "--wait", "20s", *options)
        self.addCleanup(loader.process.kill)
        loader.join().finish()
        # What asks for the counts is a connection too.
        loader.accepted = nginx.counts() - before - 1
        return loader

    def good(self, loader, requests):
        results = loader.results
        self.assertEqual((loader.status, results["errors"]), (0, 0), f"{results} {loader.errors}")
        self.assertEqual(results["requests"], requests)
        latency = results["latency_ns"]
        self.note(
            f"{results['requests_per_second']:.0f} requests/s, {results['connections_opened']} connections opened, "
            f"latency p50 {latency['p50'] / 1e3:.0f} us, p99 {latency['p99'] / 1e3:.0f} us, "
            f"connect p50 {results['connect_ns']['p50'] / 1e3:.0f} us"
        )
        return results

    def test_nginx_held(self):
        """loadgen holds 10,000 connections to nginx open at the same time, and each is answered twice."""
        loader = self.load("/", "--connections", CONNECTIONS, "--requests", 2 * CONNECTIONS)
        results = self.good(loader, 2 * CONNECTIONS)
        self.assertEqual(results["connections_opened"], CONNECTIONS)
        self.assertEqual(loader.accepted, CONNECTIONS)

    def test_nginx_connection_each(self):
        """loadgen makes 10,000 requests to nginx, a connection each, from eleven source addresses."""
        options = ("--connections", 200, "--requests", CONNECTIONS, "--close", "--source", "10.77.0.100-10.77.0.110")
        loader = self.load("/", *options)
        results = self.good(loader, CONNECTIONS)
        # The one that waited for nginx to be reached is among them, and took the first request.
        self.assertEqual(results["connections_opened"], CONNECTIONS)
        self.assertEqual(loader.accepted, CONNECTIONS)

    def test_nginx_https(self):
        """loadgen checks nginx's certificate and name, and is answered inside TLS; with another name it is not."""
        network = self.network()
        options = ("--resolve", f"load.test:{network.client_address}", "--ca", self.folder / "cert.pem")
        nginx = Nginx(self, network)
        loader = Loader(network, "https://load.test/", "--wait", "20s", "-c", 20, "-n", 2000, "-p", 2, *options)
        self.addCleanup(loader.process.kill)
        results = self.good(loader.join().finish(), 2000)
        self.assertEqual(results["handshake_ns"]["count"], 20)
        self.assertTrue(nginx.counts())
        wrong = ("--resolve", f"other.test:{network.client_address}", *options[2:])
        loader = Loader(network, "https://other.test/", "--wait", "20s", "-c", 2, "-n", 20, *wrong)
        self.addCleanup(loader.process.kill)
        loader.join().finish()
        self.assertEqual((loader.status, loader.results["requests"]), (1, 0))
        self.assertEqual(loader.results["errors_by_kind"]["tls"], loader.results["errors"])

    def test_nginx_open_loop(self):
        """loadgen asks nginx at 2,000 requests a second, spread at random, and has the rate it asked for."""
        options = ("--rate", 2000, "--poisson", "--duration", "2s", "--warmup", "500ms", "--connections", 64)
        loader = self.load("/", *options)
        results = self.good(loader, loader.results["requests"])
        self.assertAlmostEqual(results["requests_per_second"], 2000, delta=200)

    def test_interrupt(self):
        """On SIGINT loadgen ends early, in order, with the results so far."""
        network = self.network()
        Nginx(self, network)
        loader = Loader(network, f"http://{network.client_address}/", "--wait", "20s", "--duration", "10m")
        self.addCleanup(loader.process.kill)
        loader.join()
        established = ("ss", "-Htn", "state", "established", "sport", "=", ":80")
        until(lambda: len(network.client.run(*established).stdout.splitlines()) >= 64, 20, "load")
        # Some answers are to be there.
        time.sleep(0.5)
        loader.process.send_signal(signal.SIGINT)
        loader.finish(timeout=15)
        self.assertEqual((loader.status, loader.results["errors"]), (0, 0), loader.errors)
        self.assertTrue(loader.results["interrupted"] and loader.results["requests"] > 0, loader.results)

    def test_refused(self):
        """Where nothing listens, loadgen counts each connection as refused, says so in a line, and ends with status 1."""
        network = self.network()
        Nginx(self, network)
        loader = Loader(network, f"http://{network.client_address}:81/", "--wait", "3s", "-c", 5)
        self.addCleanup(loader.process.kill)
        loader.join().finish()
        self.assertEqual(loader.status, 1)
        self.assertGreaterEqual(loader.results["errors_by_kind"]["refused"], 5)
        self.assertRegex(loader.errors, r"^loadgen: \d+ errors")


@alone
class AfPacket(Case):
    link = "veth"

    def opposite(self, server):
        """The network as seen from the other end of the server's link, without the kernel's address on it."""
        network = server.network
        run("ip", "-n", network.client.name, "address", "flush", "dev", network.interface)
        other = type("Opposite", (), {})()
        other.device, other.host = f"af_packet:{network.interface}", network.client
        return other

    def load(self, server, *options, target=None):
        loader = Loader(self.opposite(server), target or server.url(), "--wait", "20s", *options, address=server.network.client_address)
        self.addCleanup(loader.process.kill)
        loader.finish()
        results = loader.results
        self.assertEqual((loader.status, results["errors"]), (0, 0), f"{results} {loader.errors}")
        self.note(
            f"{results['requests_per_second']:.0f} requests/s, latency p50 {results['latency_ns']['p50'] / 1e3:.0f} us, "
            f"p99 {results['latency_ns']['p99'] / 1e3:.0f} us"
        )
        return results

    def test_httpd(self):
        """loadgen against our httpd, both through AF_PACKET on the ends of one veth: 64 connections, no error."""
        server = self.httpd()
        results = self.load(server, "--connections", 64, "--duration", "2s", "--warmup", "200ms")
        self.assertGreater(results["requests"], 1000)
        server.settle()

    def test_httpd_held(self):
        """10,000 connections from loadgen to our httpd, a request on each, and httpd is left with none."""
        server = self.httpd()
        results = self.load(server, "--connections", CONNECTIONS, "--requests", CONNECTIONS)
        self.assertEqual((results["requests"], results["connections_opened"]), (CONNECTIONS, CONNECTIONS))
        server.settle(seconds=30)

    def test_httpd_https(self):
        """Our httpd speaks TLS: curl checks its certificate and has 3 MiB byte for byte, loadgen meets no error."""
        make_certificate(self.folder)
        sha256 = make_file(self.site / "large.bin", 3 * MIB)
        server = self.httpd("--listen", "10.77.0.2:80", "--tls-listen", "10.77.0.2:443",
                            "--tls-cert", self.folder / "cert.pem", "--tls-key", self.folder / "key.pem")
        pinned = ("--cacert", self.folder / "cert.pem", "--resolve", "load.test:443:10.77.0.2")
        for options in ((), ("--tls-max", "1.2"), ("--http1.0",)):
            got = Transfer(server.network, "https://load.test/large.bin", *pinned, *options).finish()
            self.assertEqual((got.status, got.message, got.sha256), (0, "", sha256), options)
        # curl's own word for a certificate that it does not believe.
        self.assertEqual(Transfer(server.network, "https://load.test/", *pinned[2:]).finish().status, 60)
        # Without TLS on the port of TLS, the connection ends.
        self.assertNotEqual(Transfer(server.network, "http://10.77.0.2:443/").finish().status, 0)
        self.fetch(server, "/large.bin", sha256, 3 * MIB)
        options = ("--ca", self.folder / "cert.pem", "--resolve", "load.test:10.77.0.2")
        self.load(server, "--connections", 64, "--duration", "1s", *options, target="https://load.test/")
        server.settle()
