"""Our engine beside Linux's kernel: the same scripts of segments and socket calls for both, and what they make of them.

A seed alone: `python3 ci/e2e/differential.py PLUGIN SEED...` prints what came of it on both sides.
"""

import collections
import sys
import unittest
from pathlib import Path

import harness
from beside.differences import DIFFERENCES, explain, first_difference
from beside.hosts import Linux, Ours
from beside.play import play
from beside.scripts import script as script_of
from harness import FULL

SEEDS = 8_000 if FULL else 800
# Scripts played at once.
BATCH = 200
# How often a script is played that shows what is not listed: the kernel's time is real, and its machine may be busy.
TRIES = 4


def in_batches(host, scripts):
    for start in range(0, len(scripts), BATCH):
        yield from play(host, scripts[start : start + BATCH])


def compare(linux, ours, scripts):
    """For each script the place and the name of the first difference: both None if there is none, the name alone if it is
    not listed."""
    for script, theirs, mine in zip(scripts, in_batches(linux, scripts), in_batches(ours, scripts), strict=True):
        place = first_difference(theirs, mine)
        yield place, None if place is None else explain(script, place, theirs, mine)


def text_of(script, theirs, mine):
    """Both sides' outcomes, step by step, to the first difference."""
    lines, place = [], first_difference(theirs, mine)
    for number, (step, a, b) in enumerate(zip(script, theirs, mine, strict=True)):
        lines.append("  " + " ".join(f"{name}={value}" for name, value in step.items()))
        if number == place:
            return "\n".join([*lines, f"    Linux  {a.told} {a.packets}", f"    ours   {b.told} {b.packets}"])
        lines.append(f"    both   {a.told} {a.packets}")
    return "\n".join(lines)


def shorter(linux, ours, script):
    """The script without the steps that the difference not listed does not need."""
    while True:
        ways = [script[:place] + script[place + 1 :] for place in range(len(script))]
        found = compare(linux, ours, ways)
        unlisted = [way[: place + 1] for way, (place, name) in zip(ways, found) if place is not None and name is None]
        if not unlisted or len(min(unlisted, key=len)) >= len(script):
            return script
        script = min(unlisted, key=len)


class Differential(unittest.TestCase):
    """Against the kernel of this machine, through a TUN device in a namespace."""

    seconds = 1_200 if FULL else 180
    long = 45

    def setUp(self):
        Ours.load(harness.programs / "libpacketdrill.so")
        self.linux, self.ours = Linux(), Ours(fast_path=not harness.everywhere)
        self.addCleanup(self.linux.close)
        self.addCleanup(self.ours.close)

    def note(self, text):
        self.notes = [*getattr(self, "notes", []), text]

    def test_listed(self):
        """Each listed difference shows in its own script, and there are at most twenty."""
        self.assertLessEqual(len(DIFFERENCES), 20)
        names, scripts = list(DIFFERENCES), [script for _, script in DIFFERENCES.values()]
        left = dict(zip(names, scripts, strict=True))
        for _ in range(TRIES):
            found = compare(self.linux, self.ours, list(left.values()))
            left = {name: script for (name, script), (_, seen) in zip(list(left.items()), found, strict=True) if seen != name}
            if not left:
                return
        self.fail(f"no longer a difference, or another one: {', '.join(left)}")

    def test_random(self):
        """Random scripts: what differs is a listed difference."""
        counts, left = collections.Counter(), list(range(SEEDS))
        for attempt in range(TRIES):
            scripts = [script_of(seed) for seed in left]
            unlisted = []
            for seed, (place, name) in zip(left, compare(self.linux, self.ours, scripts), strict=True):
                if place is not None and name is None:
                    unlisted.append(seed)
                else:
                    counts[name or "the same"] += 1
            left = unlisted
            if not left:
                break
        self.note(f"{SEEDS} scripts: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
        texts = []
        for seed in left[:5]:
            script = shorter(self.linux, self.ours, script_of(seed))
            theirs, mine = play(self.linux, [script])[0], play(self.ours, [script])[0]
            texts.append(f"seed {seed}:\n{text_of(script, theirs, mine)}")
        self.assertFalse(left, f"not listed, in seeds {left}:\n" + "\n".join(texts))


def main():
    Ours.load(Path(sys.argv[1]).resolve())
    linux, ours = Linux(), Ours(fast_path=True)
    try:
        for seed in map(int, sys.argv[2:]):
            script = script_of(seed)
            theirs, mine = play(linux, [script])[0], play(ours, [script])[0]
            place = first_difference(theirs, mine)
            name = "none" if place is None else explain(script, place, theirs, mine) or "not listed"
            print(f"seed {seed}: {name}\n{text_of(script, theirs, mine)}")
    finally:
        linux.close()
        ours.close()


if __name__ == "__main__":
    main()
