#!/usr/bin/env python3
"""Draws lanes.png: packets of light on lanes that never touch. Standard library only; the same picture every time."""

import math
import random
import struct
import sys
import zlib

WIDTH, HEIGHT = 1536, 864
LANES = 34
PALETTE = [(0.20, 0.75, 1.00), (1.00, 0.62, 0.18), (0.55, 0.40, 1.00), (0.20, 0.95, 0.70), (1.00, 0.35, 0.50)]


def lane(index, rng):
    """A lane's course, focus, colour and packets."""
    place = (index + 0.5) / LANES
    depth = abs(math.sin(index * 2.399))
    colour = PALETTE[rng.choices(range(5), (9, 5, 4, 3, 1))[0]]
    packets, x = [], -rng.random() * 300
    while x < WIDTH + 200:
        length = rng.choice((14, 22, 38, 90, 160)) * (0.7 + depth)
        packets.append((x, length, 0.5 + rng.random()))
        x += length + 30 + rng.expovariate(1 / 190)
    return {
        "place": place, "depth": depth, "colour": colour, "packets": packets,
        "phase": rng.random() * 0.6 + place * 2.2, "sway": 14 + 30 * rng.random(),
    }


def course(one, x):
    """Where a lane runs: far apart at both ends, gathered in the middle as at a port."""
    u = x / WIDTH
    gather = 1 - 0.80 * math.exp(-((u - 0.60) / 0.20) ** 2)
    centre = HEIGHT * (0.50 + 0.13 * math.sin(2.6 * u + 0.5))
    wave = one["sway"] * math.sin(3.4 * u + one["phase"] * 2) * gather
    return centre + (one["place"] - 0.5) * HEIGHT * 1.25 * gather + wave


def light(one, x, soft):
    """How bright a lane is: a faint thread, and packets with a head, sharp or soft, and a tail that fades behind."""
    value = 0.05
    for start, length, power in one["packets"]:
        behind = start + length - x
        if -6 * soft < behind < length * 3.2 + 6 * soft:
            head = 1 / (1 + math.exp(-behind / soft))
            value += power * head * math.exp(-max(0.0, behind - length * 0.25) / (length * 0.55))
    return value


def main(path):
    rng = random.Random(53)
    lanes = [lane(index, rng) for index in range(LANES)]
    columns = []
    for x in range(WIDTH):
        u = x / WIDTH
        column = [None] * HEIGHT
        port = math.exp(-((u - 0.60) / 0.22) ** 2)
        for y in range(HEIGHT):
            v = y / HEIGHT - 0.5
            glow = port * math.exp(-(v / 0.30) ** 2)
            column[y] = [0.012 + 0.035 * glow, 0.020 + 0.060 * glow, 0.050 + 0.130 * glow]
        for one in lanes:
            middle = course(one, x)
            blur = 1.1 + 3.6 * one["depth"] ** 3
            for width, share in ((blur, 0.95 / (0.6 + blur * 0.4)), (blur * 7, 0.10)):
                power = light(one, x, 0.6 * width)
                reach = int(width * 2.8) + 1
                red, green, blue = (part * power * share for part in one["colour"])
                first = max(0, int(middle) - reach)
                for y in range(first, min(HEIGHT, int(middle) + reach + 1)):
                    fall = math.exp(-((y - middle) / width) ** 2)
                    cell = column[y]
                    white = fall * power * share * 0.22 if width == blur else 0.0
                    cell[0] += red * fall + white
                    cell[1] += green * fall + white
                    cell[2] += blue * fall + white
        columns.append(column)
    rows = bytearray()
    previous = bytes(WIDTH * 3)
    for y in range(HEIGHT):
        shade = 1 - 0.35 * ((y / HEIGHT - 0.5) * 2) ** 2
        row = bytearray()
        for x in range(WIDTH):
            # Film grain: it hides the steps of dark gradients, and nothing can compress it away.
            grain = rng.gauss(0, 1.3)
            for part in columns[x][y]:
                level = 255 * (1 - math.exp(-1.35 * part * shade)) ** 0.82 + grain
                row.append(min(255, max(0, round(level))))
        rows.append(2)
        rows.extend((now - before) & 255 for now, before in zip(row, previous))
        previous = bytes(row)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)),
              (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b"")]
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in chunks:
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


main(sys.argv[1] if len(sys.argv) > 1 else "lanes.png")
