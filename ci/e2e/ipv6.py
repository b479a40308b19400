"""IPv6: pings, traces, downloads and load as over IPv4, neighbours that are asked for, and addresses that routers give."""

import errno
import json
import re
import select
import socket
import struct
import time

from harness import KIB, MIB, Case, Transfer, make_file, start_nginx, until
from loadgen import Loader
from reach import PING_SIZES

ADDRESS, CLIENT = "fd77::2", "fd77::1"
SERVER_OPTIONS = ("--address", f"{ADDRESS}/64", "--listen", "[::]:80")
# Two solicitations and a random second before them: how long an address may take to be a program's own.
OWN_SECONDS = 8


def speak_ipv6(network):
    """Gives the client's side an address of IPv6, which it need not ask for."""
    for setting in ("accept_dad=0", "disable_ipv6=0"):
        network.client.run("sysctl", "-q", f"net.ipv6.conf.{network.interface}.{setting}")
    network.client.run("ip", "address", "add", f"{CLIENT}/64", "dev", network.interface, "nodad")


def wait_for(network, address):
    """Waits until a program's address answers."""
    ping = ("ping", "-6", "-n", "-q", "-c", 1, "-W", 1, address)
    until(lambda: network.client.run(*ping, check=False).returncode == 0, OWN_SECONDS, f"answer of {address}")


class Ipv6:
    """The same on each kind of link."""

    def server(self, *options):
        server = self.httpd(*SERVER_OPTIONS, *options)
        speak_ipv6(server.network)
        wait_for(server.network, ADDRESS)
        return server

    def url(self, path="/"):
        return f"http://[{ADDRESS}]{path}"

    def test_ping(self):
        """ping with 0 to 8,000 bytes, whole and in fragments, loses nothing and gets its own bytes back."""
        server = self.server()
        for size in PING_SIZES:
            with self.subTest(size=size):
                done = server.network.client.run(
                    "ping", "-6", "-n", "-c", 3, "-i", 0.02, "-W", 3, "-s", size, ADDRESS, check=False
                )
                self.assertRegex(done.stdout, "3 received, 0% packet loss")
                self.assertNotRegex(done.stdout, "wrong data|DUP|truncated")
        server.settle(seconds=70)

    def test_traceroute(self):
        """traceroute reaches the server in one hop, by UDP, by ICMP and by TCP."""
        server = self.server()
        for method in ("-U", "-I", "-T"):
            with self.subTest(method):
                done = server.network.client.run(
                    "traceroute", "-6", "-n", "-q", 1, "-m", 3, "-w", 3, method, ADDRESS, check=False
                )
                hops = done.stdout.strip().splitlines()[1:]
                self.assertEqual(len(hops), 1, done.stdout + done.stderr)
                self.assertIn(f" {ADDRESS} ", hops[0])
        server.settle()

    def test_neighbours(self):
        """ndisc6 finds the station of the server's addresses, and of no other; a second owner of one is told."""
        server = self.server()
        client, interface = server.network.client, server.network.interface
        found = client.run("ndisc6", "-n", "-1", ADDRESS, interface).stdout
        station = re.search(r"link-layer address: ([\dA-F:]+)", found).group(1).lower()
        octets = [int(octet, 16) for octet in station.split(":")]
        link_local = f"fe80::{octets[0] ^ 2:02x}{octets[1]:02x}:{octets[2]:02x}ff:fe{octets[3]:02x}:{octets[4]:02x}{octets[5]:02x}"
        again = client.run("ndisc6", "-n", "-1", link_local, interface).stdout
        self.assertIn(station.upper(), again.upper())
        other = client.run("ndisc6", "-n", "-1", "-w", 500, "fd77::3", interface, check=False)
        self.assertNotEqual(other.returncode, 0, other.stdout)
        client.run("sysctl", "-q", f"net.ipv6.conf.{interface}.accept_dad=1")
        client.run("ip", "address", "add", f"{ADDRESS}/128", "dev", interface)

        def refused():
            addresses = json.loads(client.run("ip", "-j", "-6", "address", "show", "dev", interface).stdout)
            return [one for one in addresses[0]["addr_info"] if one["local"] == ADDRESS and one.get("dadfailed")]

        until(refused, 5, "second owner that was refused")
        server.settle()

    def test_closed_ports(self):
        """A closed port refuses at once, over TCP by a reset and over UDP by «port unreachable»."""
        server = self.server()
        began = time.monotonic()
        with server.network.client.socket(family=socket.AF_INET6) as stream:
            stream.settimeout(5)
            with self.assertRaises(ConnectionRefusedError):
                stream.connect((ADDRESS, 81))
        self.assertLess(time.monotonic() - began, 0.5)
        with server.network.client.socket(socket.SOCK_DGRAM, socket.AF_INET6) as datagram:
            datagram.connect((ADDRESS, 9))
            datagram.send(b"anyone there?")
            poll = select.poll()
            poll.register(datagram, select.POLLERR)
            self.assertTrue(poll.poll(3000), "no answer in 3 s")
            self.assertEqual(datagram.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), errno.ECONNREFUSED)
        server.settle()

    def test_sizes(self):
        """curl fetches 1 B, 64 KiB and 10 MiB over IPv6, and over IPv4 from the same door."""
        sums = {size: make_file(self.site / str(size), size) for size in (1, 64 * KIB, 10 * MIB)}
        server = self.server()
        for url in (self.url(), server.url()):
            for size, sha256 in sums.items():
                with self.subTest(url=url, size=size):
                    got = Transfer(server.network, f"{url}{size}").finish()
                    self.assertEqual((got.status, got.length, got.sha256), (0, size, sha256), got.message)
        server.settle()

    def test_wrk_64(self):
        """wrk with 64 kept-alive connections over IPv6 meets no error."""
        server = self.server()
        text = server.network.client.run("wrk", "-t", 2, "-c", 64, "-d", "3s", "--timeout", "10s", self.url()).stdout
        self.assertNotRegex(text, "Socket errors|Non-2xx")
        requests = int(re.search(r"(\d+) requests in", text).group(1))
        self.assertGreater(requests, 64, text)
        self.note(f"wrk over IPv6, 64 connections: {requests} requests in 3 s")
        server.settle(seconds=90)

    def test_two_lanes(self):
        """Two lanes that share a queue, and learn of each other's neighbours, serve wrk over IPv6 without an error."""
        server = self.server("--lanes", 2, "--threads", 1, "--queues", 1)
        text = server.network.client.run("wrk", "-t", 2, "-c", 64, "-d", "2s", "--timeout", "10s", self.url()).stdout
        self.assertNotRegex(text, "Socket errors|Non-2xx")
        accepted = [lane["tcp"]["accepted"] for lane in server.report()["lanes_each"]]
        self.assertTrue(all(count >= 10 for count in accepted), f"{accepted}")
        server.settle(seconds=90)

    def test_router(self):
        """With --slaac, what a router advertises becomes an address, a way, and an MTU."""
        server = self.server("--slaac")
        client, interface = server.network.client, server.network.interface
        found = client.run("ndisc6", "-n", "-1", ADDRESS, interface).stdout
        octets = [int(octet, 16) for octet in re.search(r"address: ([\dA-F:]+)", found).group(1).split(":")]
        prefix = socket.inet_pton(socket.AF_INET6, "2001:db8:77::")
        identifier = bytes([octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, *octets[3:]])
        given = socket.inet_ntop(socket.AF_INET6, prefix[:8] + identifier)
        client.run("ip", "address", "add", "2001:db8:77::1/64", "dev", interface, "nodad")
        header = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
        mtu = struct.pack("!BBHI", 5, 1, 0, 1400)
        option = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 3600, 1800, 0, prefix)
        with client.socket(socket.SOCK_RAW, socket.AF_INET6, socket.IPPROTO_ICMPV6) as raw:
            number = int(client.run("cat", f"/sys/class/net/{interface}/ifindex").stdout)
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            raw.sendto(header + mtu + option, ("ff02::1", 0, 0, number))
        wait_for(server.network, given)
        # Beyond every subnet: the answer goes by the router that advertised itself.
        client.run("ip", "address", "add", "2001:db8:99::1/128", "dev", interface, "nodad")
        client.run("ping", "-6", "-n", "-c", 1, "-W", 2, "-I", "2001:db8:99::1", given)
        got = Transfer(server.network, f"http://[{given}]/", "-w", "%{size_download}").finish()
        self.assertEqual(got.status, 0, got.message)
        server.settle()

    def test_loadgen(self):
        """loadgen asks nginx over IPv6 from the moment its address is its own, and every request is answered."""
        network = self.network()
        nginx = start_nginx(network.client, self.folder, self.site, 1000, "listen [::]:80;")
        self.addCleanup(lambda: (nginx.kill(), nginx.wait()))
        if network.kind != "tap":
            speak_ipv6(network)
        options = ("--address", f"{ADDRESS}/64", "--connections", 32, "--requests", 10_000, "--wait", "20s")
        loader = Loader(network, f"http://[{CLIENT}]/", *options)
        self.addCleanup(loader.process.kill)
        if network.kind == "tap":
            loader.join()
            speak_ipv6(network)
        loader.finish()
        self.assertEqual((loader.status, loader.results and loader.results["errors"]), (0, 0), loader.errors)
        self.assertEqual(loader.results["requests"], 10_000)


class Tap(Ipv6, Case):
    link = "tap"


class AfPacket(Ipv6, Case):
    link = "veth"
