"""What our engine does otherwise than Linux, on purpose: each with a name, its reason, and a script that shows it.

Of a script only the first difference counts, for what follows may be its consequence.
"""

import re

from . import wire

FIN, SYN, RST, ACK, URG = wire.FIN, wire.SYN, wire.RST, wire.ACK, wire.URG
ALL = ["all", 0]
STAMPS = [["nop"], ["nop"], ["stamps"]]
SACK = [["mss", 1460], ["nop"], ["nop"], ["sackok"]]
EVERYTHING = [["mss", 1460], ["sackok"], ["stamps"], ["nop"], ["scale", 7]]
WITH_STAMPS = [["mss", 1460], ["sackok"], ["stamps"]]
MSG_OOB, MSG_MORE = 1, 0x8000


def segment(flags, seq, ack=None, **more):
    return {"do": "segment", "flags": flags, "seq": seq, **({} if ack is None else {"ack": ack}), **more}


def opened(*options):
    """A connection that the peer opened."""
    stamps = STAMPS if ["stamps"] in options else []
    return [{"do": "listen"}, segment("S", 0, options=list(options)), segment(".", 1, ALL, options=stamps)]


class Case:
    """The first step of a script in which the two differ."""

    def __init__(self, script, place, linux, ours):
        self.step, self.facts = script[place], ours[place].facts
        self.script, self.state = script[: place + 1], ours[place].facts.state
        self.linux, self.ours = plain(linux[place]), plain(ours[place])
        self.before = ours[place - 1] if place else None
        self.history = [outcome.facts for outcome in ours[: place + 1]]
        # Which steps we have answered with nothing but an acknowledgement.
        self.acknowledged = [re.match(r"\. \S+\(0\)", "".join(outcome.packets)) for outcome in ours[: place + 1]]
        pairs = list(zip(self.script, ours, strict=False))
        self.closed = any(step["do"] == "close" and outcome.told[:1] != ["no socket"] for step, outcome in pairs)
        opens = [place for place, step in enumerate(self.script) if "S" in step.get("flags", "")]
        closes = [place for place, (step, _) in enumerate(pairs) if step["do"] == "close"]
        self.reopened = bool(opens and closes and opens[-1] > closes[-1])

    @property
    def is_segment(self):
        return self.step["do"] == "segment"

    def has(self, flags):
        """The step is a segment with all of these flags."""
        return self.is_segment and self.facts.flags & flags == flags

    def lacks(self, flags):
        """The step is a segment with none of these flags."""
        return self.is_segment and not self.facts.flags & flags

    def linux_sends(self, pattern):
        return any(re.match(pattern, text) for text in self.linux.packets)

    def we_send(self, pattern):
        return any(re.match(pattern, text) for text in self.ours.packets)

    @property
    def we_alone_acknowledge(self):
        return self.we_send(r"\. ") and not self.linux.packets

    @staticmethod
    def is_data(packets):
        """They are segments of text or FINs, and there is one."""
        return bool(packets) and all(re.match(r"(\S+ \S+\([1-9]|F)", text) for text in packets)

    @property
    def old_before(self):
        """This or an earlier segment was of those whose time only one side may have taken."""
        segments = [f for f in self.history if f.flags is not None and f.flags & ACK and f.ack is not None]
        return any(f.ack < f.una or f.expected is not None and f.seq < f.end < f.expected for f in segments)

    def news(self, packets):
        """Those of the packets that carry what was not sent before."""
        starts = [(text, re.match(r"\S+ (\d+)\(", text)) for text in packets]
        return [text for text, start in starts if start and int(start[1]) >= (self.facts.sent or 0)]

    @staticmethod
    def alike(packets, others):
        """As far as the shorter goes."""
        shorter = min(len(packets), len(others))
        return packets[:shorter] == others[:shorter]

    @staticmethod
    def extent(packets):
        """Where the text in the packets begins and ends, if it is one piece and they carry nothing else."""
        parts = [re.match(r"(\S+) (\d+)\((\d+)\) ack (\S+)", text) for text in packets]
        if not parts or not all(parts) or len({part[4] for part in parts}) > 1:
            return None
        ends = [(int(part[2]), int(part[2]) + int(part[3])) for part in parts]
        whole = all(a[1] == b[0] for a, b in zip(ends, ends[1:]))
        return (ends[0][0], ends[-1][1], parts[-1][1], parts[-1][4]) if whole and ends[-1][1] > ends[0][0] else None

    @staticmethod
    def words(told):
        """What was told by names, as a dictionary: the bytes that wait, and the peer's window."""
        return dict(text.split(" ") for text in told if re.match(r"(unread|unacked|window) ", text))

    @property
    def took_window(self):
        """Who took the step's window, Linux or we, if only one did and nothing but text that goes differs besides."""
        windows = [self.words(side.told).get("window") for side in (self.linux, self.ours)]
        # Which urgent bytes are told of is another matter.
        others = [
            [text.replace("pri ", "") for text in side.told if not text.startswith("window ")]
            for side in (self.linux, self.ours)
        ]
        sent = [text for text in self.linux.packets + self.ours.packets if not re.match(r"\. \S+\(0\)", text)]
        if not self.has(ACK) or windows[0] == windows[1] or others[0] != others[1]:
            return None
        if sent and not self.is_data(sent):
            return None
        had = self.words(self.before.told).get("window") if self.before else None
        if had not in windows:
            return None
        return "Linux" if windows[1] == had else "we"

    @property
    def disputes_window(self):
        """The two rules for which window is the newest have led to different ones."""
        window = ruled = taken = None
        segments = [(f, step) for f, step in zip(self.history, self.script) if f.seq is not None and f.flags & ACK]
        for f, step in segments:
            window, ack = step.get("window", 65_535), f.ack or 0
            if ruled is None:
                ruled = taken = f.seq, ack, window
            if (f.seq, ack) >= ruled[:2]:
                ruled = f.seq, ack, window
            same_but_other = f.seq == taken[0] and (window > taken[2] or window == 0)
            if ack > taken[1] or f.seq > taken[0] or same_but_other:
                taken = f.seq, ack, window
            if ruled[2] != taken[2]:
                return True
        return False


def plain(outcome):
    """Without PSH on data: senders may set it where they like, as long as the last segment has it."""
    return outcome._replace(packets=[re.sub(r"^P(?=\S* \S+\([1-9])", "", text) for text in outcome.packets])


def without_times(packets):
    """Without the time that is echoed."""
    return [re.sub(r"TS echo \d+", "", text) for text in packets]


def first_difference(linux, ours):
    """Where the two differ first, or None."""
    pairs = enumerate(zip(map(plain, linux), map(plain, ours), strict=True))
    return next((place for place, (a, b) in pairs if a[:2] != b[:2]), None)


def explain(script, place, linux, ours):
    """The name of the listed difference that this is, or None."""
    case = Case(script, place, linux, ours)
    return next((name for name, (matches, _) in DIFFERENCES.items() if matches(case)), None)


DIFFERENCES = {}


def difference(*example):
    """Enters a difference under its function's name; the docstring is the reason, the arguments are a script."""
    def enter(function):
        DIFFERENCES[function.__name__.replace("_", "-")] = function, list(example)
        return function

    return enter


# ---- before a connection is established ---------------------------------------------------------


@difference({"do": "connect"}, segment("R.", 0, ["all", 1]))
def syn_again_after_bad_answer(case):
    """After an answer to its SYN that acknowledges something else, Linux sends the SYN again at once. RFC 9293 section
    3.10.7.3 has such a segment reset or dropped and nothing else done; our SYN goes again in its time, so that nobody can
    have it sent at will."""
    return case.has(ACK) and case.state == "SYN_SENT" and case.facts.ack != 1 and case.linux_sends(r"S 0\(0\)")


@difference({"do": "connect"}, segment("SF.", 0, ALL, len=10, options=[["mss", 1460]]))
def syn_ack_carries_more(case):
    """Linux ignores text and FIN beside a SYN-ACK, and the peer must send them again. RFC 9293 section 3.10.7.3 goes on
    with both («If there are other controls or text in the segment»), and so do we."""
    return case.has(SYN | ACK) and case.state == "SYN_SENT" and (case.facts.len > 0 or case.has(FIN))


@difference({"do": "connect"}, segment("S", 0, options=[["mss", 1460]]))
def simultaneous_open(case):
    """When both have sent a SYN, Linux's SYN-ACK offers all that its SYN did. Ours leaves out what the peer's SYN did not
    offer, for RFC 7323 (sections 2.2 and 3.2) allows window scale and timestamps in a SYN-ACK only then. And of a reset
    that follows, RFC 9293 section 3.10.7.4 has an active open told that it was refused; Linux tells of a reset."""
    if "ECONNREFUSED" in case.ours.told and "ECONNRESET" in case.linux.told:
        return True
    return case.has(SYN) and case.state == "SYN_SENT" and case.linux_sends(r"S\.") and case.we_send(r"S\.")


@difference({"do": "listen"}, segment("SF", 0, options=[["mss", 1460]]))
def listeners_side(case):
    """On the listener's side Linux has rules of its own: it drops a SYN with a FIN; on a half-open connection it looks at
    the acknowledgement (and at the echoed timestamp) before the sequence number, answers a SYN in the window with a
    reset, and believes any reset in the window. We take the steps of RFC 9293 sections 3.10.7.2 and 3.10.7.4 in their
    order, with RFC 5961's exact resets, and a SYN that comes again without asking for ECN ends the offer of it."""
    f = case.facts
    listens = case.script[0]["do"] == "listen" and (case.reopened or not case.closed)
    if not case.is_segment or not listens or case.state not in (None, "CLOSED"):
        return False
    if case.has(SYN | FIN) and case.we_send(r"S\.") and not case.linux.packets:
        return True
    if case.linux_sends(r"S\.E 0\(0\)") and case.we_send(r"S\. 0\(0\)"):
        return True
    # Neither has a new connection but by the segment that completes it.
    answers = case.linux.packets != case.ours.packets
    return f.sent is not None and not case.we_send("S") and (answers or f.ack != 1 or f.stamps)


# ---- which segments are taken --------------------------------------------------------------------


@difference(*opened(*SACK), segment("P.", ["edge", -1], ALL, len=10))
def edges_of_the_window(case):
    """Linux takes a segment that merely touches the window (it starts where the window ends, or ends where it starts), and
    text beyond the window when it begins inside. RFC 9293 section 3.4 asks that a number of the segment lies in the
    window, and lets go what lies beyond."""
    f = case.facts
    if not case.is_segment or f.beyond is None:
        return False
    return f.beyond in (0, 1) or f.beyond < 0 < f.beyond_end or f.seq < f.end == f.expected


@difference(*opened(["mss", 1460]), segment("", -50, len=10))
def no_acknowledgement_at_all(case):
    """A segment with neither ACK nor SYN nor RST: Linux drops it unseen. RFC 9293 section 3.10.7.4 first looks at its
    number, and answers one outside the window with an acknowledgement."""
    return case.lacks(ACK | RST | SYN) and case.we_alone_acknowledge


@difference(*opened(["mss", 1460]), *[segment("R", 2)] * 13)
def challenges_are_counted(case):
    """RFC 5961 section 7 would have challenges limited. Linux's limits are for the whole host, and off here; ours are for
    each connection, five to twelve a second."""
    answered = sum(bool(f) for f in case.acknowledged[:-1])
    return case.is_segment and answered >= 5 and case.linux_sends(r"\. ") and not case.ours.packets


@difference(*opened(["mss", 1460]), segment("P.", 1, ["iss", -100], len=10))
def old_segments(case):
    """RFC 5961 section 5.2 accepts acknowledgements down to SND.UNA less the largest window seen, RFC 7323 section 4.3
    takes the timestamp of any segment in order. Linux refuses acknowledgements of what was never sent, and takes no
    timestamp from a segment with an old one; nor from a duplicate that does not reach up to its last acknowledgement.
    Ours does: the peer has sent it again, and where all acknowledgements were lost nothing else tells it the round trip,
    so that its timer would stay backed off."""
    f = case.facts
    # Before the first byte nothing of ours was sent that could be acknowledged late.
    old = f.flags is not None and f.flags & ACK and f.ack is not None and f.ack < min(f.una, 1)
    later = case.old_before and without_times(case.linux.packets) == without_times(case.ours.packets)
    # What such a segment brought beyond a hole shows when that is filled.
    held = any(
        other.flags is not None and other.flags & ACK and other.ack is not None and other.ack < 0
        and other.expected is not None and other.seq > other.expected and (other.len or other.flags & FIN)
        for other in case.history[:-1]
    )
    return case.state != "SYN_SENT" and bool(old or held or later and case.linux.told == case.ours.told)


@difference(*opened(*WITH_STAMPS), segment("P.", 1, ALL, len=10))
def bad_timestamps(case):
    """A segment without a timestamp where both agreed on them: RFC 7323 section 3.2 would have it dropped silently; Linux
    takes it. A pure acknowledgement with an old one: section 5.3 answers it with an acknowledgement; Linux drops it, or
    believes it where it may have been overtaken."""
    f = case.facts
    missing = case.is_segment and f.stamps and not f.has_stamps and not case.ours.packets
    # One that ended a closed connection shows by the next alone.
    ended = any(o.flags is not None and o.stamps and not o.has_stamps for o in case.history[:-1])
    ended = ended and case.closed and case.is_segment and case.linux_sends("R") and not case.we_send("R")
    return missing or ended or case.is_segment and f.has_stamps and f.len == 0 and case.we_alone_acknowledge


@difference(*opened(["mss", 1460]), segment("F.", 1, ALL), segment("R", 1))
def inexact_reset(case):
    """Linux believes a reset also with the number of the peer's FIN, or with the one behind all that is held out of order.
    RFC 5961 section 3.2 wants the next number exactly."""
    return case.has(RST) and "CLOSED" in case.linux.told and "CLOSED" not in case.ours.told


@difference(*opened(["mss", 1460]), segment("P.", 101, ALL, len=1), segment("F.", 1, ALL, len=100))
def text_behind_the_end(case):
    """Text behind the peer's own FIN: Linux resets the connection, or lets the FIN rule over text that came before it. RFC
    9293 section 3.10.7.4 ignores such text, and a FIN that lies in text that is there already is no end."""
    f, ended = case.facts, ("CLOSE_WAIT", "CLOSING", "LAST_ACK")
    if case.is_segment and case.state in ended:
        return f.len > 0
    if case.step["do"] == "recv":
        # Linux heeds its urgent pointer.
        return any(other.state in ended and other.len and other.flags & URG for other in case.history[:-1])
    return case.has(FIN) and any(other.len and other.end >= f.end for other in case.history[:-1])


@difference(*opened(["mss", 1460]), {"do": "close"}, segment(".", 1, ALL), segment("R", 50))
def nobody_reads(case):
    """Where nobody reads any more Linux resets also at a FIN that lies beyond what has come, before the text between them
    has, and sends its FIN first where the opening itself was shut down. We reset when there is text (RFC 9293 SHLD-3). And
    of a closed connection in FIN_WAIT_2, and of any in TIME_WAIT, Linux keeps a stub, which resets at a SYN, has its own
    mind about resets, and in TIME_WAIT looks at no acknowledgement; in every state alike we challenge SYN and RST (RFC 5961
    sections 3.2 and 4.2) and answer what acknowledges too much (RFC 9293 section 3.10.7.4)."""
    f = case.facts
    if not case.is_segment:
        return False
    stub = case.closed and case.state is None and (case.has(RST) or case.has(SYN))
    waits = case.state == "CLOSED" and f.ack is not None and f.ack > f.sent
    ahead = case.has(FIN) and f.len == 0 and f.expected is not None and f.seq > f.expected
    early = (ahead or case.state == "SYN_RECEIVED") and case.linux_sends("R") and not case.we_send("R")
    return stub or early or waits and case.we_alone_acknowledge


# ---- what answers say, and when text goes ---------------------------------------------------------


@difference(*opened(*SACK), segment("F.", 101, ALL))
def sack_blocks(case):
    """Linux names the number of a FIN out of order in SACK blocks, puts blocks into resets, and names in D-SACK blocks
    segments that it refuses for their timestamps or that are older than any window; once a FIN was taken, or the socket
    closed, it names nothing. Our blocks are of bytes that are held or were received (RFC 2018 section 3, RFC 2883 section
    4), and resets have none. And where blocks go with text, Linux cuts all of it for the room that they leave, we what
    they go with."""
    if case.linux.told != case.ours.told:
        return False
    both = case.linux.packets, case.ours.packets
    extents = case.extent(both[0]), case.extent(both[1])
    if any("sack " in text for text in both[0] + both[1]) and None not in extents:
        # Windows that are counted in segments end elsewhere then.
        return extents[0] == extents[1] or extents[0][0] == extents[1][0] and min(map(len, both)) >= 4
    f = case.facts
    refused = case.is_segment and f.expected is not None and f.seq < f.expected

    def without(text):
        text = re.sub(r"[<,]nop,nop,sack [^>]*", "", text).rstrip(">").rstrip()
        # Which time old segments have echoed is a difference of its own.
        return re.sub(r"[<]nop,nop,TS echo \d+", "", text).rstrip() if refused else text

    same = [*map(without, both[0])] == [*map(without, both[1])]
    return same and (refused or case.has(FIN) or case.linux_sends("R"))


@difference(*opened(["mss", 1460]), segment("P.U", 1, ALL, len=10, urgent=0))
def urgent_pointer(case):
    """A pointer of zero: Linux takes the segment's first byte for urgent, and hands out urgent bytes that arrived beyond a
    hole; its own it announces even before there is room to send them. RFC 9293 section 3.8.5 (MUST-62) has the pointer
    name the byte behind the urgent ones, so zero names none, and what lies beyond a hole has not been received."""
    urgent = any(other.flags is not None and other.flags & URG for other in case.history)
    if any(step["do"] == "send" and step.get("how") == MSG_OOB for step in case.script):
        # Linux tells of urgent data that has to wait in a segment without text.
        return [text for text in case.linux.packets if not re.match(r"\.U \S+\(0\)", text)] == case.ours.packets
    # What a call gives is another matter only where they disagree about which byte is the urgent one.
    disputed = any("U" in step.get("flags", "") and not step.get("urgent") for step in case.script) or any(
        other.flags is not None and other.flags & URG and other.expected is not None and other.seq > other.expected
        for other in case.history
    )
    first = 1 if disputed else 0
    told = [[re.sub("pri |in |unread .*", "", text) for text in side.told[first:]] for side in (case.linux, case.ours)]
    return urgent and told[0] == told[1]


@difference(*opened(["mss", 1460]), {"do": "send", "len": 10}, {"do": "send", "len": 14_600})
def congestion_window(case):
    """Linux counts its congestion window in segments, short ones like long ones, and opens it by one for each that is
    acknowledged, by number or by SACK, if more than half of it was used. We count bytes as RFC 5681 does, open it by at
    most eight segments for one acknowledgement (RFC 9406 section 4.2), and only when it was used up."""
    all_mine, all_theirs = case.ours.packets, case.linux.packets
    if case.old_before:
        all_mine, all_theirs = without_times(all_mine), without_times(all_theirs)
    mine, theirs = case.news(all_mine), case.news(all_theirs)
    shorter = min(len(mine), len(theirs))
    before = case.words(case.before.told).get("unacked") if case.before else None
    in_flight = int(before or (case.facts.sent or 0) - (case.facts.una or 0))
    # One in flight and four more are half of the initial window of the smallest peers.
    enough = shorter >= 4 or in_flight >= 2000
    again = [[text for text in side if text not in new] for side, new in ((all_mine, mine), (all_theirs, theirs))]
    return case.alike(mine, theirs) and case.alike(*again) and case.is_data(all_mine + all_theirs) and enough


@difference(*opened(["mss", 1000]), segment(".", 1, ALL, window=100), {"do": "send", "len": 1000})
def newest_window(case):
    """Which of two segments has the newer window: RFC 9293 section 3.10.7.4 goes by the sequence number and then by the
    acknowledgement. Linux takes any that acknowledges more, and a smaller window only with a newer number."""
    f = case.facts
    if case.took_window == "Linux":
        return any(other.seq is not None and other.seq > f.seq for other in case.history)
    if case.took_window == "we":
        return f.ack <= f.una and int(case.words(case.ours.told)["window"]) < int(case.words(case.linux.told)["window"])
    # Behind our FIN the window is not told, and shows in what is sent.
    return case.is_data(case.linux.packets + case.ours.packets) and case.disputes_window


@difference(
    *opened(["mss", 1000]), segment("P.", 1, ALL, len=1), segment(".", 2, ALL, window=1500), {"do": "send", "len": 3000}
)
def short_segment_fills_the_window(case):
    """Linux fills what is left of the peer's window with a short segment. RFC 9293 section 3.8.6.2.1 (MUST-38) has the
    sender wait for more unless it is half of the largest window."""
    *same, last = case.linux.packets or [""]
    narrow = any("window" in step for step in case.script)
    return narrow and same == case.ours.packets and case.is_data([last])


@difference(*opened(["mss", 1460]), {"do": "send", "len": 100, "how": MSG_MORE}, segment("P.", 2, ALL, len=10))
def more_to_come(case):
    """Text sent with MSG_MORE goes in Linux with the next segment, whatever that is for. Ours waits for what was promised,
    a fifth of a second at most."""
    promised = any(step.get("how", 0) == MSG_MORE for step in case.script)
    return promised and case.step["do"] != "set" and case.is_data(case.linux.packets)


@difference(
    {"do": "connect", "settings": [["IPPROTO_TCP", "TCP_MAXSEG", 1000]]}, segment("S.", 0, ALL), {"do": "send", "len": 1000}
)
def default_segment(case):
    """To a peer that names no segment size, Linux sends as much as TCP_MAXSEG says. RFC 9293 section 3.7.1 (MUST-15) has 536
    bytes for the most."""
    limited = any("TCP_MAXSEG" in str(step.get("settings")) for step in case.script)
    return limited and case.is_data(case.linux.packets) and case.script[0]["do"] == "connect"


@difference(
    *opened(["mss", 1460]), {"do": "send", "len": 30_000}, {"do": "shutdown", "how": "wr"}, segment("F.", 1, ALL, len=100)
)
def acknowledgement_of_its_own(case):
    """At a FIN that is acknowledged at once Linux sends an acknowledgement, and then, with what the same segment lets go,
    text that says the same. Ours acknowledges with the text (RFC 9293 section 3.8.6.3)."""
    first, *rest = case.linux.packets or [""]
    same = case.alike(rest, case.ours.packets) and case.is_data(rest) and case.is_data(case.ours.packets)
    return case.has(FIN) and bool(re.match(r"\.U? \S+\(0\)", first)) and same
