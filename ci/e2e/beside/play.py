"""Plays a script on a host, and writes down what the host makes of each step.

A script is a list of steps. A step is a segment from the peer, or a socket call:

    {"do": "segment", "flags": "PA", "seq": 1, "len": 100, "ack": ["all", 0], ...}
    {"do": "send", "len": 1000}

Numbers of the peer count from its initial one, or (`["edge", n]`) from the right edge of the window it was offered.
Numbers that it acknowledges count from the host's initial one (`["iss", n]`), from all that the host has sent
(`["all", n]`), or by the segments of data that it has sent (`["cut", n]`).
"""

import collections
import ctypes
import errno
import select
import socket
import struct

from . import wire
from .hosts import INFO_BYTES, INFO_SND_WND, LOCAL, POLL_ALL, SIOCINQ, SIOCOUTQ, TCP_INFO, Failure

PEER_ISS = 0xFFFF_F000
STATES = (
    "-", "ESTABLISHED", "SYN_SENT", "SYN_RECEIVED", "FIN_WAIT_1", "FIN_WAIT_2", "TIME_WAIT", "CLOSED", "CLOSE_WAIT",
    "LAST_ACK", "LISTEN", "CLOSING",
)
POLLS = {
    select.POLLIN: "in", select.POLLPRI: "pri", select.POLLOUT: "out", select.POLLERR: "err", select.POLLHUP: "hup",
    select.POLLRDHUP: "rdhup", select.POLLNVAL: "invalid",
}
# The peer's clock of timestamps: where it starts, and how far it goes a step.
STAMP_START, STAMP_STEP = 1_000, 10
HOWS = {"rd": socket.SHUT_RD, "wr": socket.SHUT_WR, "rdwr": socket.SHUT_RDWR}


# What a step brought: what calls told, the packets, and what was so before.
Outcome = collections.namedtuple("Outcome", "told packets facts")
# What was so when a segment was sent to the host: the segment's numbers from the peer's initial one, its acknowledgement
# from the host's, its start and end from the edge of the window; what the host expected and had sent; whether
# timestamps are in use and in the segment; the state it was in, if that could be asked.
Facts = collections.namedtuple(
    "Facts", "flags seq end len ack una beyond beyond_end expected sent stamps has_stamps state", defaults=[None] * 13
)


def signed(number):
    """A difference of two sequence numbers."""
    number &= wire.MASK
    return number - (1 << 32) if number >= 1 << 31 else number


def step_kinds(step):
    """The kinds of the options that a segment carries intact."""
    kinds = {"mss": wire.MSS, "sackok": wire.SACK_OK, "scale": wire.SCALE, "stamps": wire.STAMPS, "sack": wire.SACK}
    return {kinds.get(option[0]) for option in step.get("options", ())}


def address_bytes(address, port):
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + wire.octets(address) + bytes(8)


class Play:
    """One script on one host."""

    def __init__(self, host, script, number):
        self.host, self.calls, self.script = host, host.calls, script
        self.peer = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        self.port, self.peer_port = 10_000 + number % 50_000, 40_000
        self.listener = self.stream = None
        # What the host began with, all that it has sent, the edge of its window, its scale and its latest timestamp.
        self.iss = self.sent = self.edge = None
        # Edges of windows that connections before had, and what the script calls the numbers of its own segments.
        self.edges, self.names = [], {}
        self.scale, self.offers_scale, self.stamp = 0, False, 0
        # Where the segments of data that it sent began and ended.
        self.cuts = [1]
        # The most of it that the peer has acknowledged.
        self.una, self.acked = 1, None
        self.read = self.written = 0
        self.steps = []
        self.place = 0
        # What the facts of the next segment are made of.
        self.expected = self.state = None
        self.stamps = False

    # ---- the peer ----

    def number(self, spec):
        if isinstance(spec, int):
            return PEER_ISS + spec & wire.MASK
        base, offset = spec
        assert base == "edge"
        edges = [edge for edge in (self.edge, *self.edges[::-1]) if edge is not None]
        return (edges[0] if edges else PEER_ISS + 65_536) + offset & wire.MASK

    def name(self, spec, seq, length):
        """Remembers what the script calls a segment's ends, for the edge that it counts from moves on."""
        for number, more in ((seq, 0), (seq + length, length)):
            name = str(spec + more) if isinstance(spec, int) else f"edge{spec[1] + more:+}"
            self.names[number & wire.MASK] = name

    def acknowledged(self, spec):
        base, offset = spec
        if base == "cut":
            base, offset = "iss", self.cuts[min(offset, len(self.cuts) - 1)]
        start = {"all": self.sent, "iss": self.iss, "number": 0}[base]
        # Before the host has sent anything, some number.
        return (start if start is not None else 0x1234_5678) + offset & wire.MASK

    def options(self, step):
        parts = b""
        for option in step.get("options", ()):
            kind, *values = option
            if kind == "mss":
                parts += struct.pack("!BBH", wire.MSS, 4, *values)
            elif kind == "sackok":
                parts += struct.pack("!BB", wire.SACK_OK, 2)
            elif kind == "scale":
                parts += struct.pack("!BBB", wire.SCALE, 3, *values)
            elif kind == "stamps":
                # An offset to the peer's clock; the echo of the host's latest, or of something else.
                value = STAMP_START + STAMP_STEP * self.place + (values[0] if values else 0)
                echo = self.stamp + (values[1] if len(values) > 1 else 0)
                parts += struct.pack("!BBII", wire.STAMPS, 10, value & wire.MASK, echo & wire.MASK if self.stamp else 0)
            elif kind == "sack":
                edges = [self.acknowledged(edge if isinstance(edge, list) else ["iss", edge]) for edge in values]
                parts += struct.pack(f"!BB{len(edges)}I", wire.SACK, 2 + 4 * len(edges), *edges)
            elif kind == "nop":
                parts += b"\1"
            else:
                assert kind == "bytes"
                parts += bytes.fromhex(values[0])
        return parts

    def now(self):
        """What is so before a step."""
        sent = None if self.iss is None else signed(self.sent - self.iss)
        return Facts(state=self.state, expected=self.expected, una=self.una, sent=sent, stamps=self.stamps)

    def segment(self, step):
        flags = wire.flags_of(step["flags"])
        ack = self.acknowledged(step["ack"]) if "ack" in step else 0
        seq = self.number(step["seq"])
        start = (seq - PEER_ISS - 1 + (flags & wire.SYN != 0)) & wire.MASK
        data = wire.payload(start, step.get("len", 0))
        if flags & wire.SYN and self.state == "SYN_SENT":
            options = step.get("options", ())
            self.offers_scale = any(option[0] == "scale" or str(option[-1]).startswith("0303") for option in options)
        self.acked = ack
        length = len(data) + (flags & wire.SYN != 0) + (flags & wire.FIN != 0)
        self.name(step["seq"], seq, length)
        self.facts = self.facts._replace(
            flags=flags, seq=signed(seq - PEER_ISS), end=signed(seq + length - PEER_ISS), len=len(data),
            ack=None if self.iss is None else signed(ack - self.iss),
            beyond=None if self.edge is None else signed(seq - self.edge),
            beyond_end=None if self.edge is None else signed(seq + length - self.edge),
            has_stamps=wire.STAMPS in step_kinds(step),
        )
        if self.iss is not None and flags & wire.ACK and 0 <= signed(ack - self.iss) <= signed(self.sent - self.iss):
            self.una = max(self.una, signed(ack - self.iss))
        self.host.inject(wire.build(
            self.peer, LOCAL, (self.peer_port, self.port), seq, ack, flags, step.get("window", 65_535), self.options(step),
            data, step.get("urgent", 0), step.get("tos", 0), step.get("spoil", False),
        ))
        return "sent"

    # ---- the socket ----

    def option(self, fd, level, name, value):
        data = value if isinstance(value, bytes) else struct.pack("=i", value)
        self.calls.call("setsockopt", fd, level, name, data, len(data))

    def do_listen(self, step):
        fd = self.listener = self.calls.socket()
        self.option(fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.settings(fd, step)
        place = address_bytes(LOCAL, self.port)
        self.calls.call("bind", fd, place, len(place))
        self.calls.call("listen", fd, step.get("backlog", 8))

    def do_connect(self, step):
        if self.stream is None:
            self.stream = self.calls.socket()
            self.settings(self.stream, step)
            place = address_bytes(LOCAL, self.port)
            self.calls.call("bind", self.stream, place, len(place))
        place = address_bytes(self.peer, self.peer_port)
        self.calls.call("connect", self.stream, place, len(place))

    def settings(self, fd, step):
        # A namespace does not get to choose what its connections begin with.
        if step["do"] != "set":
            self.option(fd, socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        for level, name, value in step.get("settings", ()):
            self.option(fd, getattr(socket, level), getattr(socket, name), value)

    def do_set(self, step):
        self.settings(self.stream if self.stream is not None else self.listener, step)

    def do_accept(self, _):
        fd = self.calls.call("accept", self.listener, None, None)
        self.calls.call("fcntl", fd, FCNTL_SETFL, O_NONBLOCK)
        self.stream = fd

    def do_send(self, step):
        data = wire.payload(self.written, step["len"])
        count = self.calls.call("send", self.stream, data, len(data), step.get("how", 0) | socket.MSG_NOSIGNAL)
        self.written += count
        return count

    def do_recv(self, step):
        room = ctypes.create_string_buffer(step["len"])
        count = self.calls.call("recv", self.stream, room, step["len"], step.get("how", 0))
        right = room.raw[:count] == wire.payload(self.read, count)
        if not step.get("how", 0) & socket.MSG_PEEK:
            self.read += count
        return f"{count}{'' if right else ' with other bytes than were sent'}"

    def do_shutdown(self, step):
        self.calls.call("shutdown", self.stream, HOWS[step["how"]])

    def do_linger(self, step):
        self.option(self.stream, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, step["seconds"]))

    def do_close(self, _):
        fd, self.stream = self.stream, None
        self.calls.call("close", fd)

    def do_close_listener(self, _):
        fd, self.listener = self.listener, None
        self.calls.call("close", fd)

    def do_error(self, _):
        value, length = ctypes.c_int(), ctypes.c_uint(4)
        fd = self.stream
        self.calls.call("getsockopt", fd, socket.SOL_SOCKET, socket.SO_ERROR, ctypes.byref(value), ctypes.byref(length))
        return errno.errorcode.get(value.value, value.value)

    def do_wait(self, _):
        return None

    def begin(self):
        """Does the next step's deed."""
        step, self.facts = self.script[self.place], self.now()
        if step["do"] == "segment":
            self.result = self.segment(step)
            return
        needs = {"listen": True, "connect": True, "wait": True, "accept": self.listener, "close_listener": self.listener,
                 "set": self.listener or self.stream}
        if needs.get(step["do"], self.stream) is None:
            self.result = "no socket"
            return
        try:
            self.result = getattr(self, "do_" + step["do"])(step)
        except Failure as failure:
            self.result = errno.errorcode.get(failure.errno, str(failure))

    # ---- what came of it ----

    def end(self, packets):
        """Writes down what the step brought."""
        texts = [self.read_packet(packet) for packet in packets]
        told = [] if self.result is None else [str(self.result)]
        seen = self.look()
        self.state = seen[0] if seen else None
        self.steps.append(Outcome(told + seen, texts, self.facts))
        self.place += 1

    def look(self):
        """The state of the socket, once there is one."""
        if self.listener is not None and self.stream is None and not any(s["do"] == "accept" for s in self.script):
            try:
                self.do_accept({})
            except Failure as failure:
                if failure.errno != errno.EAGAIN:
                    return [f"accept: {errno.errorcode[failure.errno]}"]
        if self.stream is None:
            return []
        # How long it delays acknowledgements is the host's own business.
        self.option(self.stream, socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        room, length = ctypes.create_string_buffer(INFO_BYTES), ctypes.c_uint(INFO_BYTES)
        self.calls.call("getsockopt", self.stream, socket.IPPROTO_TCP, TCP_INFO, room, ctypes.byref(length))
        polled = struct.pack("=ihh", self.stream, POLL_ALL, 0)
        polled = ctypes.create_string_buffer(polled, len(polled))
        self.calls.call("poll", polled, 1, 0)
        revents = struct.unpack("=ihh", polled.raw)[2]
        state = STATES[room.raw[0]]
        events = " ".join(name for bit, name in POLLS.items() if revents & bit)
        counts = [f"unread {self.count(SIOCINQ)}"]
        # Behind its own FIN each counts as it likes; and nobody asks what the window of the gone was.
        if state in ("ESTABLISHED", "CLOSE_WAIT"):
            window = struct.unpack_from("=I", room, INFO_SND_WND)[0]
            counts += [f"unacked {self.count(SIOCOUTQ)}", f"window {window}"]
        return [state, events, *counts]

    def count(self, request):
        """What the socket counts for this request."""
        value = ctypes.c_int()
        try:
            self.calls.ioctl(self.stream, request, ctypes.byref(value))
        except Failure as failure:
            return errno.errorcode[failure.errno]
        return value.value

    def peers(self, number):
        """A number of the peer's: as the script calls it, else from its initial one or, if it is nearer, from the edge of
        the window."""
        if number in self.names:
            return self.names[number]
        offset = signed(number - PEER_ISS)
        for edge in [self.edge, *self.edges]:
            beyond = None if edge is None else signed(number - edge)
            if beyond is not None and abs(beyond) < abs(offset) and abs(beyond) < 31_000:
                return f"edge{beyond:+}"
        return str(offset)

    def read_packet(self, packet):
        """A packet as text, without what may differ: initial numbers, timestamps, identification and window."""
        segment = wire.Segment(packet)
        if segment.protocol != 6:
            return f"protocol {segment.protocol}"
        is_ours = (segment.sport, segment.dport) == (self.port, self.peer_port)
        syn, rst = segment.flags & wire.SYN, segment.flags & wire.RST
        if syn and (self.iss is None or segment.seq != self.iss):
            self.iss, self.sent = segment.seq, segment.end
            self.edges += [self.edge] if self.edge is not None else []
            self.edge, self.scale, self.una = None, 0, 1
            self.offers_scale = bool(segment.flags & wire.ACK) and segment.option(wire.SCALE) is not None
        if self.iss is not None and not rst and signed(segment.end - self.sent) >= 0:
            self.sent = segment.end
        first = None if self.iss is None else signed(segment.seq - self.iss)
        words = [wire.flags_text(segment.flags)]
        # A reset may take its number from what it answers.
        if rst and segment.seq == self.acked:
            first = "its"
        words.append(f"{f'#{segment.seq}' if first is None or rst and segment.seq == 0 else first}({len(segment.data)})")
        if segment.flags & wire.ACK:
            words.append(f"ack {self.peers(segment.ack)}")
        if segment.data:
            self.cuts = sorted({*self.cuts, first + len(segment.data)})
        if segment.data and segment.data != wire.payload(first - 1, len(segment.data)):
            words.append("with other bytes")
        if segment.flags & wire.URG:
            words.append(f"urg {segment.urgent}")
        words += self.read_options(segment)
        if segment.flags & wire.ACK and not rst:
            scale = self.scale if self.offers_scale and not syn else 0
            edge = segment.ack + (segment.window << scale) & wire.MASK
            if self.edge is None or signed(edge - self.edge) >= 0:
                self.edge = edge
            self.expected = signed(segment.ack - PEER_ISS)
            self.stamps = segment.option(wire.STAMPS) is not None
        words += [f"tos {segment.tos}"] * (segment.tos != 0) + [f"ttl {segment.ttl}"] * (segment.ttl != 64)
        words += ["may be fragmented"] * (not segment.whole) + ["other ports"] * (not is_ours)
        return " ".join(words)

    def read_options(self, segment):
        words = []
        for kind, data in segment.options:
            if kind == wire.MSS:
                words.append(f"mss {struct.unpack('!H', data)[0]}")
            elif kind == wire.SCALE:
                # How wide its windows are is the host's own business.
                words.append("wscale")
                self.scale = data[0]
            elif kind == wire.SACK_OK:
                words.append("sackOK")
            elif kind == wire.STAMPS:
                value, echo = struct.unpack("!II", data)
                self.stamp = value
                words.append(f"TS echo {echo}")
            elif kind == wire.SACK:
                edges = [self.peers(edge) for edge in struct.unpack(f"!{len(data) // 4}I", data)]
                words.append("sack " + " ".join(f"{a}:{b}" for a, b in zip(edges[::2], edges[1::2])))
            else:
                words.append({wire.END: "eol", wire.NOP: "nop"}.get(kind, f"option {kind}"))
        return [f"<{','.join(words)}>"] if words else []

    def close(self):
        for fd in (self.stream, self.listener):
            if fd is not None:
                self.calls.call("close", fd)


FCNTL_SETFL, O_NONBLOCK = 4, 0o4000


def play(host, scripts):
    """Plays scripts at once, each to its end. What came of each."""
    # What is left of earlier ones still speaks now and then: each has an address that none had before.
    plays = [Play(host, script, next(host.numbers)) for script in scripts]
    try:
        for _ in range(max(map(len, scripts))):
            going = [play for play in plays if play.place < len(play.script)]
            for play in going:
                play.begin()
            found = {play.peer: [] for play in plays}
            for packet in host.step():
                found.get(".".join(map(str, packet[16:20])), []).append(packet)
            for play in going:
                play.end(found[play.peer])
    finally:
        for play in plays:
            play.close()
    return [play.steps for play in plays]
