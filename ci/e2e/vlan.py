"""A lane in an 802.1Q VLAN: who is in it is served, and nobody else hears of it."""

import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import types

from harness import KIB, MIB, Case, Namespace, Transfer, make_file, run, until

VLAN, OTHER_VLAN = 5, 6
ETH_P_ALL, ETH_P_8021Q = 0x0003, 0x8100
SOL_PACKET, PACKET_AUXDATA, PACKET_VNET_HDR, TP_STATUS_VLAN_VALID = 263, 8, 15, 1 << 4
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
# In front of each frame on both sides: which checksum is not filled in, and where to cut.
HEADER_BYTES = 10
FRAME_BYTES_MAX = 64 * KIB + HEADER_BYTES + 18


class Trunk:
    """An interface in one namespace that is in a VLAN of an interface in another, where the kernel has no 802.1Q.

    A TAP whose frames are tagged and sent on, and which gets the frames that come with that tag.
    """

    def __init__(self, outer, interface, inner, name, vlan):
        self.vlan = vlan
        with inner.inside():
            self.tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        self.wire = outer.socket(socket.SOCK_RAW, socket.AF_PACKET)
        self.wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.wire.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * MIB)
        self.wire.bind((interface, ETH_P_ALL))
        self.wire.setblocking(False)
        self.stopped, self.stop = os.pipe()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        watched = [self.tap, self.wire, self.stopped]
        while self.stopped not in (ready := select.select(watched, [], [])[0]):
            try:
                if self.tap in ready:
                    frame = os.read(self.tap, FRAME_BYTES_MAX)
                    behind = HEADER_BYTES + 12
                    self.wire.send(frame[:behind] + struct.pack("!HH", ETH_P_8021Q, self.vlan) + frame[behind:])
                if self.wire in ready:
                    frame, notes, _, sender = self.wire.recvmsg(FRAME_BYTES_MAX, 256)
                    if sender[2] != socket.PACKET_OUTGOING and self.vlan == self._vlan_of(notes):
                        os.write(self.tap, frame)
            except OSError:
                # A link that is down or full loses frames.
                continue

    @staticmethod
    def _vlan_of(notes):
        """The kernel takes the tag out of a frame and tells of it beside."""
        for _, _, data in notes:
            status, _, _, _, _, tag, _ = struct.unpack_from("@IIIHHHH", data)
            if status & TP_STATUS_VLAN_VALID:
                return tag & 0xFFF
        return None

    def close(self):
        os.write(self.stop, b"x")
        self.thread.join()
        self.wire.close()
        for file in (self.tap, self.stopped, self.stop):
            os.close(file)


class Vlan:
    """The same on each kind of link."""

    def member(self, server, vlan, address):
        """A client in a namespace of its own, with an interface that is in a VLAN of the server's link."""
        network, inside = server.network, Namespace()
        self.addCleanup(inside.delete)
        name = f"vlan{vlan}"
        made = run(
            *f"ip -n {network.client.name} link add link {network.interface} name {name} netns {inside.name}".split(),
            *f"type vlan id {vlan}".split(), check=False
        )
        if made.returncode != 0:
            trunk = Trunk(network.client, network.interface, inside, name, vlan)
            self.addCleanup(trunk.close)
        run("ip", "-n", inside.name, "link", "set", name, "address", f"02:00:0a:4d:01:{vlan:02x}")
        run("ip", "-n", inside.name, "address", "add", f"{address}/24", "dev", name)
        run("ip", "-n", inside.name, "link", "set", name, "up")
        return inside, name

    def make_files(self):
        """Sizes of files in the site, and their sums."""
        return {size: make_file(self.site / str(size), size) for size in (1, 64 * KIB, 2 * MIB)}

    def not_answered(self, server, client, interface):
        """Neither ARP nor, with the server's address known, ping and curl get an answer."""
        address, dropped = server.network.address, self.strangers(server)
        done = client.run("arping", "-c", 1, "-w", 0.3, "-i", interface, address, check=False)
        self.assertIn("Timeout", done.stdout)
        run("ip", "-n", client.name, "neighbour", "replace", address, "lladdr", self.server_mac, "dev", interface)
        done = client.run("ping", "-n", "-c", 2, "-i", 0.1, "-W", 0.3, address, check=False)
        self.assertIn(" 0 received", done.stdout)
        done = client.run("curl", "-sS", "--connect-timeout", 0.3, server.url(), check=False)
        self.assertEqual(done.returncode, 28, done.stderr)
        self.assertGreater(self.strangers(server) - dropped, 3, "frames that came and were dropped for their VLAN")

    def strangers(self, server):
        return server.report()["drops"].get("vlan_unknown", 0)

    def mac_of(self, server, client):
        """The server's address on the link, as a client that has talked to it knows it."""
        known = run("ip", "-n", client.name, "neighbour", "show", server.network.address).stdout
        return re.search(r"lladdr (\S+)", known).group(1)

    def test_vlan(self):
        """In the VLAN a client pings and fetches all bytes; untagged, and in another, none is answered."""
        sums = self.make_files()
        server = self.httpd("--vlan", VLAN)
        network = server.network
        member, interface = self.member(server, VLAN, "10.77.0.3")
        dump = network.client.start(
            "tcpdump", "-n", "-i", network.interface, "-U", "-w", self.folder / "capture.pcap", stderr=subprocess.PIPE
        )
        self.addCleanup(dump.stderr.close)
        self.addCleanup(dump.wait)
        self.addCleanup(dump.kill)
        until(lambda: b"listening on" in dump.stderr.readline(), 10, "capture")

        done = member.run("arping", "-c", 2, "-W", 0.1, "-i", interface, network.address, check=False)
        self.assertEqual(len(re.findall(r"^\d+ bytes from ", done.stdout, re.MULTILINE)), 2, done.stdout + done.stderr)
        for size in (56, 1472, 4000):
            done = member.run("ping", "-n", "-c", 3, "-l", 3, "-W", 3, "-s", size, network.address, check=False)
            self.assertRegex(done.stdout, "3 received, 0% packet loss")
        for size, sha256 in sums.items():
            got = Transfer(types.SimpleNamespace(client=member), server.url(f"/{size}")).finish()
            self.assertEqual((got.status, got.message, got.length, got.sha256), (0, "", size, sha256), f"/{size}")

        self.server_mac = self.mac_of(server, member)
        self.not_answered(server, network.client, network.interface)
        stranger, interface = self.member(server, OTHER_VLAN, "10.77.0.4")
        self.not_answered(server, stranger, interface)

        dump.send_signal(signal.SIGINT)
        dump.wait()
        self.check_tags()
        server.settle()

    def check_tags(self):
        """tshark finds the VLAN's tag in each frame of the server."""
        command = ["tshark", "-n", "-r", self.folder / "capture.pcap", "-Y", f"eth.src == {self.server_mac}", "-T", "fields"]
        tags = run(*command, "-e", "vlan.id").stdout.splitlines()
        # Of a TAP each has up to 64 KiB.
        self.assertGreater(len(tags), 40, "frames of the server in the capture")
        self.assertEqual(set(tags), {str(VLAN)}, "tags of the server's frames")
        self.note(f"{len(tags)} frames of the server read, all with tag {VLAN}")

    def test_no_vlan(self):
        """Without --vlan an untagged client is served, and one in a VLAN is not answered."""
        server = self.httpd()
        self.assertEqual(self.download(server, "/").status, 0)
        self.server_mac = self.mac_of(server, server.network.client)
        member, interface = self.member(server, VLAN, "10.77.0.3")
        self.not_answered(server, member, interface)
        self.assertEqual(self.download(server, "/").status, 0)
        server.settle()


class Tap(Vlan, Case):
    link = "tap"


class AfPacket(Vlan, Case):
    link = "veth"
