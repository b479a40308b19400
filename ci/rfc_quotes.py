#!/usr/bin/env python3
"""Checks the sentences of RFCs that the sources quote beside the code they ask for.

Whether the code does what they say is for the tests that carry the same quotation to show.
Usage: rfc_quotes.py [--texts DIR]
A citation is a line `//= https://www.rfc-editor.org/rfc/rfc793#section-3.1`, perhaps further `//= key=value` lines,
and one to three lines `//# quotation`. Without --texts only that form is checked; with it, each quotation must stand
in the section named, word for word, of DIR/**/rfc793.txt or rfc793.txt.gz. The texts are not part of this repository.
Debian 12 packs all that are cited, in its component non-free, as doc-rfc-std, doc-rfc-std-proposed, doc-rfc-old-std,
doc-rfc-fyi-bcp, doc-rfc-informational and doc-rfc-experimental: `apt-get download` them, and `dpkg -x` each to DIR.
"""

import argparse
import gzip
import re
import sys
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
LINES_MAX = 3
URL = re.compile(r"https://www\.rfc-editor\.org/rfc/rfc([1-9]\d*)(?:#section-([0-9A-Z]+(?:\.\d+)*))?")
KEYS = re.compile(r"(type|reason)=\S.*")
# What the printed form puts between two pages: a foot with the page's number, a head with the RFC's.
FOOT = re.compile(r".*\[Page\s+\w+\]\s*", re.IGNORECASE)
HEAD = re.compile(r"\s*RFC[ -]?\d+\s.*\s(19|20)\d\d\s*")
# A heading stands behind an empty line. One number alone is one only at the margin: indented, it is an item of a list.
HEADING = re.compile(r"(?:Appendix )?((?:\d+|[A-Z])(?:\.\d+)*)\.?(?:\s.*)?|\s+(\d+(?:\.\d+)+)\.?\s+[^\sa-z].*")
# The margin of a passage set apart.
BAR = re.compile(r"^\s*\|(?=\s|$)", re.MULTILINE)


def squeezed(text):
    """The text with its line breaks and spaces made one, and words hyphenated at a line's end joined."""
    return re.sub(r"(?<=\w)-\s+", "-", " ".join(BAR.sub(" ", text).split()))


def sources():
    """The Rust sources and the tests' scripts, in order: all folders but hidden ones and cargo's."""
    folders = [path for path in REPOSITORY.iterdir() if path.name != "target" and not path.name.startswith(".")]
    return sorted(path for folder in folders for end in ("*.rs", "*.pkt") for path in folder.rglob(end))


def citations(path):
    """Each citation of a source file: its first line's number, what its `//=` lines say, its quotation's lines."""
    found = []
    previous = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        mark, said = line.strip()[:3], line.strip()[3:].strip()
        if mark == "//=" and (previous != "//=" or said.startswith("http")):
            found.append((number, [said], []))
        elif mark == "//=":
            found[-1][1].append(said)
        elif mark == "//#":
            if not previous:
                found.append((number, [""], []))
            found[-1][2].append(said)
        previous = mark if mark in ("//=", "//#") else ""
    return found


def fault_of_form(says, quotation):
    """What is wrong with a citation's form, or None."""
    if not URL.fullmatch(says[0]):
        return f"not the address of an RFC's section: {says[0] or 'none'}"
    if unknown := [key for key in says[1:] if not KEYS.fullmatch(key)]:
        return f"neither type=… nor reason=…: {unknown[0]}"
    if not all(quotation) or not quotation:
        return "an empty quotation"
    if len(quotation) > LINES_MAX:
        return f"a quotation of {len(quotation)} lines, over {LINES_MAX}"
    return None


@cache
def sections(texts, number):
    """The text of an RFC as pairs of a section's number and one line, or None where DIR has no such RFC."""
    paths = sorted(path for end in ("txt", "txt.gz") for path in texts.rglob(f"rfc{number}.{end}"))
    if not paths:
        return None
    opener = gzip.open if paths[0].suffix == ".gz" else open
    with opener(paths[0], "rt", encoding="utf-8", errors="replace") as file:
        lines = [line for line in file.read().replace("\f", "\n").splitlines() if not is_between_pages(line)]
    current, numbered = "", []
    for above, line in zip(["", *lines], lines):
        if not above.strip() and (heading := HEADING.fullmatch(line)):
            current = heading[1] or heading[2]
        numbered.append((current, line))
    return numbered


def is_between_pages(line):
    """Whether a line is the head or the foot of a page."""
    return bool(FOOT.fullmatch(line) or HEAD.fullmatch(line))


def fault_of_text(texts, url, quotation):
    """Where a quotation differs from the RFC's text, or None."""
    number, section = URL.fullmatch(url).groups()
    lines = sections(texts, number)
    if lines is None:
        return f"no text of RFC {number} to compare with"
    wanted = squeezed(" ".join(quotation))
    if wanted not in squeezed("\n".join(line for _, line in lines)):
        return f"RFC {number} does not say: {wanted}"
    inside = [line for at, line in lines if section is None or at == section or at.startswith(section + ".")]
    if wanted not in squeezed("\n".join(inside)):
        return f"RFC {number} says it, but not in section {section}: {wanted}"
    return None


def main():
    """Prints `file:line: fault` for each fault, and a sum; ends with 1 if there was a fault."""
    parser = argparse.ArgumentParser(description="Checks the quotations of RFCs in the sources.")
    parser.add_argument("--texts", type=Path, metavar="DIR", help="a folder with RFCs as text, to compare with")
    texts = parser.parse_args().texts
    count, faults = 0, 0
    for path in sources():
        for line, says, quotation in citations(path):
            count += 1
            fault = fault_of_form(says, quotation)
            if fault is None and texts is not None:
                fault = fault_of_text(texts, says[0], quotation)
            if fault is not None:
                faults += 1
                print(f"{path.relative_to(REPOSITORY)}:{line}: {fault}")
    print(f"{count} quotations, {faults} faults{'' if texts else ', form only'}")
    return 1 if faults or not count else 0


if __name__ == "__main__":
    sys.exit(main())
