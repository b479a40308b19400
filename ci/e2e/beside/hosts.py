"""The two hosts: Linux's kernel behind a TUN device in a namespace of its own, and our engine in virtual time, as the
plug-in that packetdrill would load. Both take packets and socket calls, and tell what they sent."""

import ctypes
import fcntl
import itertools
import os
import select
import socket
import struct
import time

import harness

from . import wire

LOCAL = "192.168.0.1"
# A step of a script, in real time and in ours: longer than either stack waits before it answers, and all steps together
# shorter than its timers.
LINUX_STEP_SECONDS, OUR_STEP_SECONDS = 0.025, 0.01
# Both hosts are set so that nothing happens by itself within a script, and that nothing is counted across connections.
SETTINGS = {
    "tcp_rto_min_us": 5_000_000,
    "tcp_early_retrans": 0,
}
LINUX_SETTINGS = {
    "tcp_autocorking": 0,
    "tcp_backlog_ack_defer": 0,
    "tcp_challenge_ack_limit": 0x7FFF_FFFF,
    "tcp_comp_sack_nr": 0,
    "tcp_ecn": 2,
    "tcp_fastopen": 0,
    "tcp_invalid_ratelimit": 0,
    "tcp_max_syn_backlog": 4096,
    "tcp_no_metrics_save": 1,
    "tcp_syncookies": 0,
    # As much as a socket of ours takes to send from the start.
    "tcp_wmem": "4096 262144 4194304",
}
TCP_INFO, SIOCINQ, SIOCOUTQ = 11, 0x541B, 0x5411
POLL_ALL = select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP
INFO_BYTES = 280
# Where in TCP_INFO the peer's window stands.
INFO_SND_WND = 228


class Failure(OSError):
    """A call that failed."""


def answer(result, number):
    if result < 0:
        raise Failure(number, os.strerror(number))
    return result


class Linux:
    """The kernel of this machine. One serves many scripts at once, each with a peer address and a port of its own."""

    def __init__(self):
        self.namespace = harness.Namespace()
        with self.namespace.inside():
            self.device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.device, 0x400454CA, struct.pack("16sH14x", b"beside", 0x1001))
            for name, value in {**SETTINGS, **LINUX_SETTINGS}.items():
                self.namespace.run("sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{name}")
        name = self.namespace.name
        harness.run("ip", "-n", name, "address", "add", f"{LOCAL}/32", "dev", "beside")
        harness.run("ip", "-n", name, "link", "set", "beside", "mtu", 1500, "txqueuelen", 10000, "up")
        # Without `quickack` the kernel decides by the hour's history which segments it acknowledges at once.
        harness.run("ip", "-n", name, "route", "add", "10.0.0.0/8", "dev", "beside", "src", LOCAL, "quickack", 1)
        self.calls, self.numbers = Kernel(self.namespace), itertools.count(1)

    def inject(self, packet):
        os.write(self.device, packet)

    def step(self):
        """The packets sent until the time of a step is over."""
        packets, end = [], time.monotonic() + LINUX_STEP_SECONDS
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.device], [], [], left)[0]:
                break
            packets += self._read()
        return packets + self._read()

    def _read(self):
        packets = []
        while True:
            try:
                packets.append(os.read(self.device, 65536))
            except BlockingIOError:
                return packets

    def close(self):
        os.close(self.device)
        self.namespace.delete()


class Kernel:
    """Socket calls on file descriptors, by libc."""

    def __init__(self, namespace):
        self.namespace = namespace

    def socket(self):
        with self.namespace.inside():
            number = self.call("socket", socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, 0)
        return number

    def call(self, name, *arguments):
        ctypes.set_errno(0)
        return answer(getattr(harness.libc, name)(*arguments), ctypes.get_errno())

    def ioctl(self, fd, request, value):
        return self.call("ioctl", fd, ctypes.c_ulong(request), value)


class Table(ctypes.Structure):
    """`struct packetdrill_interface`."""

    NAMES = (
        "free socket bind listen accept connect read readv recv recvfrom recvmsg write writev send sendto sendmsg fcntl"
        " ioctl close shutdown getsockopt setsockopt poll netdev_send netdev_receive usleep gettimeofday epoll_create"
        " epoll_ctl epoll_wait pipe splice"
    ).split()
    _fields_ = [("userdata", ctypes.c_void_p), *((name, ctypes.c_void_p) for name in NAMES)]


# What the functions take after the host, and what they give.
INT, POINTER, SIZE, LONG = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long
SHAPES = {
    "free": (None,),
    "socket": (INT, INT, INT, INT),
    "bind": (INT, INT, POINTER, INT),
    "listen": (INT, INT, INT),
    "accept": (INT, INT, POINTER, POINTER),
    "connect": (INT, INT, POINTER, INT),
    "recv": (ctypes.c_ssize_t, INT, POINTER, SIZE, INT),
    "send": (ctypes.c_ssize_t, INT, POINTER, SIZE, INT),
    "fcntl": (INT, INT, INT, LONG),
    "ioctl": (INT, INT, ctypes.c_ulong, POINTER),
    "close": (INT, INT),
    "shutdown": (INT, INT, INT),
    "getsockopt": (INT, INT, INT, INT, POINTER, POINTER),
    "setsockopt": (INT, INT, INT, INT, POINTER, INT),
    "poll": (INT, POINTER, ctypes.c_ulong, INT),
    "netdev_send": (INT, POINTER, SIZE),
    "netdev_receive": (INT, POINTER, POINTER, POINTER),
    "usleep": (INT, ctypes.c_uint),
    "gettimeofday": (INT, POINTER, POINTER),
}


ICMP = 1


def echo_request():
    message = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    message = message[:2] + struct.pack("!H", wire.checksum(message)) + message[4:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 64, ICMP, 0)
    head += wire.octets("10.255.255.254") + wire.octets(LOCAL)
    return head[:10] + struct.pack("!H", wire.checksum(head)) + head[12:] + message


ECHO_REQUEST = echo_request()


class Ours:
    """A host of ours. Time passes in `step` alone."""

    library = None

    @classmethod
    def load(cls, path):
        cls.library = ctypes.CDLL(str(path))

    def __init__(self, fast_path):
        table = Table()
        settings = ",".join(f"{name}={value}" for name, value in {**SETTINGS, "tcp_fast_path": int(fast_path)}.items())
        self.library.packetdrill_interface_init(f"local={LOCAL}/16,gw=192.168.0.2,{settings}".encode(), ctypes.byref(table))
        self.userdata, self.functions = table.userdata, {}
        for name, (result, *arguments) in SHAPES.items():
            shape = ctypes.CFUNCTYPE(result, POINTER, *arguments, use_errno=True)
            self.functions[name] = shape(getattr(table, name))
        self.calls, self.numbers = self, itertools.count(1)
        self.room = ctypes.create_string_buffer(65536)

    def call(self, name, *arguments):
        ctypes.set_errno(0)
        return answer(self.functions[name](self.userdata, *arguments), ctypes.get_errno())

    def socket(self):
        return self.call("socket", socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, 0)

    def ioctl(self, fd, request, value):
        return self.call("ioctl", fd, request, value)

    def inject(self, packet):
        self.call("netdev_send", packet, len(packet))

    def step(self):
        """The packets sent until the time of a step is over. The answer to an echo request comes behind them all: to wait
        for a packet that does not come would move the clock."""
        self.call("usleep", round(OUR_STEP_SECONDS * 1e6))
        self.inject(ECHO_REQUEST)
        packets = []
        while True:
            length, at = ctypes.c_size_t(len(self.room)), ctypes.c_int64()
            self.call("netdev_receive", self.room, ctypes.byref(length), ctypes.byref(at))
            packet = self.room.raw[: length.value]
            assert packet, "no answer to an echo request"
            if packet[9] == ICMP:
                return packets
            packets.append(packet)

    def close(self):
        self.functions["free"](self.userdata)
