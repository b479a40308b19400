#!/usr/bin/env python3
"""Passes frames between two interfaces, late and not all of them: a path with a delay, a rate, a bounded queue and losses
from a seed. Runs inside the namespace that has both.

Usage: relay.py SERVER_SIDE CLIENT_SIDE LOSS_PERCENT SEED
Full segments from the server are lost, after as many others as the seed says: the same numbers whoever serves. Says
"ready", and at SIGTERM what it has passed, lost and refused.
"""

import heapq
import json
import math
import random
import select
import signal
import socket
import sys
import time

# One way. Units: seconds.
DELAY = 0.010
# From the server. Units: bytes a second, and bytes that may wait.
RATE, QUEUE_BYTES = 100e6 / 8, 400_000
ETH_P_ALL, SOL_PACKET, PACKET_IGNORE_OUTGOING = 3, 263, 23
FULL_SEGMENT = 1_400


def opened(interface):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    link.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    link.bind((interface, 0))
    link.setblocking(False)
    return link


class Path:
    """The way from the server."""

    def __init__(self, percent, seed):
        self.random, self.share = random.Random(seed), percent / 100
        self.counts = {"passed": 0, "lost": 0, "refused": 0}
        self.free_at, self.left = 0.0, self.gap()

    def gap(self):
        """Full segments before the next one that is lost."""
        return math.inf if self.share == 0 else int(math.log(1 - self.random.random()) / math.log(1 - self.share))

    def due(self, frame, now):
        """When a frame arrives, or None if it does not."""
        if len(frame) >= FULL_SEGMENT:
            self.left -= 1
            if self.left < 0:
                self.left = self.gap()
                self.counts["lost"] += 1
                return None
        free_at = max(self.free_at, now)
        if (free_at - now) * RATE > QUEUE_BYTES:
            self.counts["refused"] += 1
            return None
        self.free_at = free_at + len(frame) / RATE
        self.counts["passed"] += 1
        return self.free_at + DELAY


def main():
    server, client = opened(sys.argv[1]), opened(sys.argv[2])
    path, waiting, number = Path(float(sys.argv[3]), int(sys.argv[4])), [], 0
    going = True

    def stop(*_):
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    while going:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.1
        ready = select.select([server, client], [], [], timeout)[0]
        for link in ready:
            for _ in range(64):
                try:
                    frame = link.recv(65536)
                except BlockingIOError:
                    break
                now, number = time.monotonic(), number + 1
                due = path.due(frame, now) if link is server else now + DELAY
                if due is not None:
                    heapq.heappush(waiting, (due, number, client if link is server else server, frame))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, link, frame = heapq.heappop(waiting)
            try:
                link.send(frame)
            except OSError:
                path.counts["refused"] += 1
    print(json.dumps(path.counts), flush=True)


if __name__ == "__main__":
    main()
