"""IPv4 packets with TCP segments: built as a script asks for them, and read as a stack sent them."""

import ipaddress
import struct

FLAGS = "FSRP.UEW"
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
END, NOP, MSS, SCALE, SACK_OK, SACK, STAMPS = 0, 1, 2, 3, 4, 5, 8
MASK = 0xFFFF_FFFF


def flags_of(text):
    """`"SA"` and the like as packetdrill has them: F, S, R, P, `.` for ACK, U, E, W."""
    return sum(1 << FLAGS.index(letter) for letter in text)


def flags_text(flags):
    return "".join(letter for bit, letter in enumerate(FLAGS) if flags >> bit & 1) or "-"


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def octets(address):
    return ipaddress.IPv4Address(address).packed


def payload(start, length):
    """The bytes of a stream from one place on: no byte that is shifted, missing or repeated goes unnoticed."""
    return bytes(((place * 31) ^ (place >> 8) * 7) & 0xFF for place in range(start, start + length))


def build(source, destination, ports, seq, ack, flags, window, options=b"", data=b"", urgent=0, tos=0, spoil=False):
    """A whole packet. `options` are bytes, filled up to a multiple of four; `spoil` makes the checksum wrong."""
    options += b"\0" * (-len(options) % 4)
    length = 20 + len(options)
    head = struct.pack("!HHIIBBHHH", *ports, seq & MASK, ack & MASK, length // 4 << 4, flags, window, 0, urgent)
    segment = head + options + data
    pseudo = octets(source) + octets(destination) + struct.pack("!BBH", 0, 6, len(segment))
    total = checksum(pseudo + segment) ^ (0x0101 if spoil else 0)
    segment = segment[:16] + struct.pack("!H", total) + segment[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(segment), 0, 0x4000, 64, 6, 0) + octets(source) + octets(destination)
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + segment


class Segment:
    """What a stack sent."""

    def __init__(self, packet):
        (_, self.tos, total, _, fragment, self.ttl, self.protocol, _, source, destination) = struct.unpack(
            "!BBHHHBBH4s4s", packet[:20]
        )
        self.source, self.destination = str(ipaddress.IPv4Address(source)), str(ipaddress.IPv4Address(destination))
        self.whole = fragment & 0x4000 != 0
        if self.protocol != 6:
            return
        segment = packet[20:total]
        assert checksum(source + destination + struct.pack("!BBH", 0, 6, len(segment)) + segment) == 0, "a wrong checksum"
        (self.sport, self.dport, self.seq, self.ack, offset, self.flags, self.window, _, self.urgent) = struct.unpack(
            "!HHIIBBHHH", segment[:20]
        )
        self.options = list(options_of(segment[20 : offset // 16 * 4]))
        self.data = segment[offset // 16 * 4 :]

    @property
    def end(self):
        """The number after its last."""
        return (self.seq + len(self.data) + (self.flags & SYN != 0) + (self.flags & FIN != 0)) & MASK

    def option(self, kind):
        return next((data for found, data in self.options if found == kind), None)


def options_of(data):
    """Kind and content of each option; ends where they end or make no sense."""
    place = 0
    while place < len(data):
        kind = data[place]
        if kind in (END, NOP):
            yield kind, b""
            place += 1
            continue
        length = data[place + 1]
        yield kind, data[place + 2 : place + length]
        place += length
