"""Random scripts, the same from the same seed: connections opened either way, then segments at, in and beside what is
expected, with socket calls between them."""

import random

from . import wire

STEPS_MAX = 14
# Seven options of a SYN, from none to all that we know.
SYN_OPTIONS = (
    [],
    [["mss", 1460]],
    [["mss", 1460], ["sackok"], ["stamps"], ["nop"], ["scale", 7]],
    [["mss", 1460], ["nop"], ["nop"], ["sackok"]],
    [["mss", 1000], ["nop"], ["scale", 2]],
    [["nop"], ["nop"], ["stamps"]],
    [["mss", 536], ["sackok"], ["stamps"]],
)
# Rare ones: lengths that are none, scales beyond 14, options twice, an end before the end, kinds that nobody knows.
ODD_OPTIONS = (
    [["bytes", "0203"]], [["bytes", "02040000"]], [["bytes", "02040001"]], [["bytes", "0204ffff"]], [["bytes", "0300"]],
    [["bytes", "03030f"]], [["bytes", "0303ff"]], [["bytes", "0000000002040218"]], [["bytes", "fd04abcd"], ["mss", 700]],
    [["bytes", "fe02"]], [["bytes", "1e04aabb"]], [["bytes", "0501"]], [["bytes", "050a00000000"]], [["bytes", "0802"]],
    [["mss", 1000], ["mss", 500]], [["sackok"], ["sackok"], ["mss", 900]], [["bytes", "02"]], [["bytes", "ff28"]],
)
LENGTHS = (1, 10, 100, 500, 536, 1000, 1460)
# What a script may be about besides: in each, deeds that are rare elsewhere.
MOODS = {
    "any": ("error", "peek", "oob", "close_listener", "nodelay", "cork", "uncork", "urgent", "more"),
    "urgent": ("peek", "oob", "oob", "oob_peek", "urgent"),
    "holding": ("nodelay", "delay", "cork", "cork", "uncork", "uncork", "more"),
}


class Author:
    """Writes one script."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.script = []
        self.mood = self.random.choices(list(MOODS), (80, 10, 10))[0]
        # What the peer would send next, whether its options are on, and what it has said of its end.
        self.next, self.stamps, self.sack = 0, False, False
        self.window, self.scale = 65_535, 0

    def one(self, *choices):
        return self.random.choice(choices)

    def chance(self, percent):
        return self.random.random() * 100 < percent

    def add(self, do, **more):
        self.script.append({"do": do, **more})

    def options(self, syn=False):
        if self.chance(3):
            return self.one(*ODD_OPTIONS)
        if not self.stamps:
            return [["nop"], ["nop"], ["stamps"]] if self.chance(3) else []
        if self.chance(88):
            return [["nop"], ["nop"], ["stamps"]]
        # An old one, none, one from far ahead, an echo of what was never sent.
        return self.one([["nop"], ["nop"], ["stamps", -500]], [], [["stamps", 100_000]], [["nop"], ["nop"], ["stamps", 0, 77]],
                        [["nop"], ["nop"], ["stamps", -1]])

    def segment(self, flags, seq, ack=None, options=None, **more):
        step = {"flags": flags, "seq": seq, **more}
        if ack is not None:
            step["ack"] = ack
        options = self.options() if options is None else options
        if options:
            step["options"] = options
        if self.window != 65_535:
            step.setdefault("window", self.window)
        self.add("segment", **step)

    # ---- openings ----

    def write(self):
        opening = self.random.choices(
            (self.passive, self.active, self.odd_passive, self.odd_active, self.nobody), (40, 25, 15, 15, 5)
        )[0]
        opening()
        while len(self.script) < STEPS_MAX:
            self.step()
        del self.script[STEPS_MAX:]
        return self.script

    def syn_options(self):
        options = self.one(*SYN_OPTIONS, SYN_OPTIONS[2], SYN_OPTIONS[2]) if self.chance(90) else self.one(*ODD_OPTIONS)
        self.stamps = ["stamps"] in options
        self.sack = ["sackok"] in options
        return options

    def settings(self):
        settings = []
        if self.chance(20):
            settings.append(["IPPROTO_TCP", "TCP_NODELAY", 1])
        if self.chance(5):
            settings.append(["IPPROTO_TCP", "TCP_MAXSEG", self.one(600, 1000)])
        if self.chance(5):
            settings.append(["SOL_SOCKET", "SO_OOBINLINE", 1])
        return {"settings": settings} if settings else {}

    def passive(self):
        self.add("listen", **self.settings())
        self.segment("S", 0, options=self.syn_options())
        self.next = 1
        self.segment(".", 1, ["all", 0], options=[["stamps"]] if self.stamps else [])

    def active(self):
        self.add("connect", **self.settings())
        self.segment("S.", 0, ["all", 0], options=self.syn_options())
        self.next = 1

    def odd_passive(self):
        self.add("listen", **self.settings())
        if self.chance(30):
            self.anything()
        if self.chance(85):
            self.segment(self.one("S", "S", "SP", "SF", "SEW", "SU", "SE"), 0, options=self.syn_options(),
                         len=self.one(0, 0, 0, 100))
            self.next = 1
        for _ in range(self.random.randint(1, 3)):
            self.anything()

    def odd_active(self):
        self.add("connect", **self.settings())
        for _ in range(self.random.randint(1, 3)):
            if self.chance(50):
                self.segment(self.one("S", "S.", "S.P", "SF.", "SR.", "R", "R.", ".", "F", "S.E", "S.U", "F."), 0,
                             self.one(None, ["all", 0], ["all", 0], ["all", 1], ["all", -1], ["all", 5]),
                             options=self.syn_options(), len=self.one(0, 0, 0, 50))
                self.next = 1
            else:
                self.anything()

    def nobody(self):
        for _ in range(4):
            self.anything()

    # ---- what comes then ----

    def step(self):
        self.random.choices(
            (self.data, self.acknowledgement, self.out_of_order, self.fin, self.reset, self.syn, self.anything, self.call,
             self.selective, self.new_window),
            (16, 10, 9, 6, 5, 5, 9, 30, 5, 5),
        )[0]()

    def length(self):
        return self.one(*LENGTHS)

    def all(self):
        return ["all", 0]

    def data(self):
        length = self.length()
        more = {}
        if self.chance(5):
            more = self.one({"spoil": True}, {"tos": 3}, {"tos": 2})
        flags = self.one("P.", "P.", ".", "P.U" if self.chance(20) else "P.")
        if self.mood == "urgent" and self.chance(50):
            flags = "P.U"
        if "U" in flags:
            more["urgent"] = self.one(0 if self.mood == "any" else 1, 1, length, length + 5)
        self.segment(flags, self.next, self.all() if self.chance(85) else self.ack(), len=length, **more)
        if "spoil" not in more:
            self.next += length

    def ack(self):
        return self.one(["all", -1], ["all", -100], ["all", -1460], ["all", 1], ["all", 1000], ["iss", 0], ["iss", 1],
                        ["all", -65_535], ["all", -70_000], ["all", -20_000_000], ["all", 1 << 31], ["iss", 101])

    def acknowledgement(self):
        self.segment(".", self.next, self.all() if self.chance(50) else self.ack())

    def place(self):
        """A number beside what is expected."""
        return self.one(
            self.next, self.next, self.next - 1, self.next + 1, self.next + 100, self.next - 50, max(self.next - 1000, 0), 0,
            1, self.next + 2000, self.next - 70_000, ["edge", 0], ["edge", -1], ["edge", 1], ["edge", -100], ["edge", 30_000],
            self.next + (1 << 31),
        )

    def out_of_order(self):
        length = self.length()
        self.segment(self.one("P.", ".", "P."), self.place(), self.all(), len=length)

    def fin(self):
        length = self.one(0, 0, 0, 100)
        if self.chance(70):
            self.segment("F.", self.next, self.all(), len=length)
            self.next += length + 1
        else:
            self.segment("F.", self.place(), self.all() if self.chance(80) else self.ack(), len=length)

    def reset(self):
        self.segment(self.one("R", "R", "R."), self.place(), self.one(None, self.all(), self.ack()), len=self.one(0, 0, 0, 5))

    def syn(self):
        options = self.one(*SYN_OPTIONS)
        self.segment(self.one("S", "S", "S.", "SF", "SR"), self.place(), self.one(None, self.all()), options=options)

    def anything(self):
        flags = self.random.getrandbits(8) if self.chance(50) else self.random.getrandbits(6)
        self.segment(wire.flags_text(flags).replace("-", ""), self.place(), self.all() if self.chance(60) else self.ack(),
                     len=self.one(0, 0, 0, 1, 100, 1000), urgent=self.one(0, 0, 1, 50))

    def selective(self):
        if not self.sack:
            return self.acknowledgement()
        # Blocks of what may have been sent, of what was acknowledged, and of what never was.
        starts = [self.one(0, 1, 2, 3, 5, 8) for _ in range(self.one(1, 1, 2, 3))]
        blocks = [["cut", cut] for start in starts for cut in (start, start + self.one(1, 1, 2, 4))]
        if self.chance(10):
            blocks = [self.one(1, 101, 50_000), self.one(1, 101, 51_000)]
        stamps = [["nop"], ["nop"], ["stamps"]] if self.stamps else []
        self.segment(".", self.next, self.one(["iss", 1], self.all(), ["cut", 1], ["cut", 2]),
                     options=stamps + [["nop"], ["nop"], ["sack", *blocks]])

    def new_window(self):
        window = self.one(0, 1, 100, 1000, 4000, 65_535, 65_535)
        if self.chance(95):
            # Behind a new byte it is the latest word by any rule.
            self.segment("P.", self.next, self.all(), len=1)
            self.next += 1
        self.window = window
        self.segment(".", self.next, self.all())

    def call(self):
        weights = {"any": (45, 25, 12, 8, 10), "urgent": (8, 40, 4, 3, 45), "holding": (45, 2, 4, 2, 47)}
        self.random.choices((self.send, self.receive, self.shut, self.close, self.rare), weights[self.mood])[0]()

    def send(self):
        self.add("send", len=self.one(1, 10, 100, 1000, 1448, 1460, 2000, 3000, 5000, 14_600, 30_000))

    def receive(self):
        self.add("recv", len=self.one(1, 50, 100, 4000, 30_000))

    def shut(self):
        self.add("shutdown", how=self.one("wr", "wr", "wr", "rd", "rdwr"))

    def close(self):
        if self.chance(25):
            self.add("linger", seconds=0)
        self.add("close")

    def rare(self):
        deed = self.one(*MOODS[self.mood])
        if deed == "peek":
            self.add("recv", len=100, how=2)
        elif deed in ("oob", "oob_peek"):
            self.add("recv", len=1, how=1 if deed == "oob" else 3)
        elif deed == "urgent":
            self.add("send", len=self.one(1, 10), how=1)
        elif deed == "more":
            self.add("send", len=self.one(100, 2000), how=0x8000)
        elif deed in ("nodelay", "delay", "cork", "uncork"):
            name = "TCP_NODELAY" if "delay" in deed else "TCP_CORK"
            self.add("set", settings=[["IPPROTO_TCP", name, int(deed in ("nodelay", "cork"))]])
        else:
            self.add(deed)


def script(seed):
    """The script of a seed."""
    return Author(seed).write()
