#!/usr/bin/env python3
"""Writes the ledger of what the RFCs ask for: each MUST and SHOULD, where it is done, what shows it, or why it is not.

Usage: rfc_ledger.py [--write] [--texts DIR]
The clauses stand in rfc_clauses.toml beside this file, each with its words. A citation in the sources (see rfc_quotes.py)
belongs to a clause if one's words contain the other's. Where no citation can stand, the clause itself names the place
(`at`), or the test or script (`shown`). `departure` says why we do otherwise, and `effect` what is seen of it on the wire.
`elsewhere` says whose business a clause is if not a host's TCP.
Without --write nothing is written, and it fails if the page is not what would be written, if a MUST has neither a place
with something that shows it nor a departure, if there are more than five departures from MUSTs, or if something named does
not exist. With --texts each clause's words must stand in the RFC, in DIR as for rfc_quotes.py.
"""

import argparse
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import rfc_quotes

REPOSITORY = rfc_quotes.REPOSITORY
CLAUSES = Path(__file__).resolve().parent / "rfc_clauses.toml"
PAGE = REPOSITORY / "stack" / "RFC.md"
DEPARTURES_MAX = 5
KEYS = {"rfc", "section", "id", "level", "text", "at", "shown", "departure", "effect", "elsewhere"}


class Clause:
    """One thing that an RFC asks for."""

    def __init__(self, entry):
        if unknown := entry.keys() - KEYS:
            sys.exit(f"{CLAUSES.name}: {entry.get('id')}: no such key: {', '.join(unknown)}")
        self.rfc, self.section, self.level = entry["rfc"], entry["section"], entry["level"]
        self.name, self.text = entry["id"], rfc_quotes.squeezed(entry["text"])
        self.at, self.shown = set(entry.get("at", [])), set(entry.get("shown", []))
        self.named = sorted(self.at | self.shown)
        self.departure, self.effect = entry.get("departure"), entry.get("effect")
        self.elsewhere = entry.get("elsewhere")

    def concerns(self, rfc, quotation):
        """Whether a citation is one of this clause."""
        if rfc != self.rfc:
            return False
        # A label is enough: RFC 9293 numbers what it asks for.
        return quotation in self.text or self.text in quotation or f"({self.name})" in quotation

    @property
    def state(self):
        """One word for what has become of it."""
        if self.elsewhere:
            return "elsewhere"
        if self.departure:
            return "departure"
        return "shown" if self.shown else "done" if self.at else "open"


def read_clauses():
    """The clauses, in the file's order."""
    with CLAUSES.open("rb") as file:
        return [Clause(entry) for entry in tomllib.load(file)["clause"]]


def gather(clauses):
    """Put each citation of the sources to its clauses."""
    for path in rfc_quotes.sources():
        for _, says, quotation in rfc_quotes.citations(path):
            address = rfc_quotes.URL.fullmatch(says[0])
            if not address:
                continue
            text = rfc_quotes.squeezed(" ".join(quotation))
            place = str(path.relative_to(REPOSITORY))
            keys = dict(key.split("=", 1) for key in says[1:])
            for clause in clauses:
                if not clause.concerns(int(address[1]), text):
                    continue
                if keys.get("type") == "test":
                    clause.shown.add(place)
                elif keys.get("type") == "exception":
                    clause.departure = clause.departure or keys.get("reason")
                else:
                    clause.at.add(place)


@cache
def source(path):
    """The text of a file of the repository, or None."""
    file = REPOSITORY / path
    return file.read_text(encoding="utf-8") if file.is_file() else None


def is_missing(named):
    """Whether a place that a clause names is not there: a file, or `file::function`."""
    path, _, function = named.partition("::")
    text = source(path)
    return text is None or bool(function) and not re.search(rf"\bfn {function}\b", text)


def faults_of(clauses):
    """What is wrong, but for a stale page."""
    for clause in clauses:
        name = f"RFC {clause.rfc} {clause.name}"
        yield from (f"{name}: there is no {named}" for named in clause.named if is_missing(named))
        if clause.level == "MUST" and clause.state in ("open", "done"):
            lacks = "is done nowhere" if clause.state == "open" else "is shown by nothing"
            yield f"{name} {lacks}: {clause.text}"
        if clause.departure and not clause.effect:
            yield f"{name}: a departure without its effect on the wire"
    departures = [clause for clause in clauses if clause.departure and clause.level == "MUST"]
    if len(departures) > DEPARTURES_MAX:
        yield f"{len(departures)} departures from MUSTs, over {DEPARTURES_MAX}"


def fault_of_text(texts, clause):
    """Where a clause's words differ from the RFC's, or None."""
    address = f"https://www.rfc-editor.org/rfc/rfc{clause.rfc}#section-{clause.section}"
    return rfc_quotes.fault_of_text(texts, address, [clause.text])


def places(paths):
    """Places as a cell of the table: what lies in one folder of scripts together."""
    scripts = {}
    cells = []
    for path in sorted(paths):
        folder, _, name = path.removesuffix(".pkt").removeprefix("stack/tests/scripts/").rpartition("/")
        if path.endswith(".pkt"):
            scripts.setdefault(folder, []).append(name)
        else:
            cells.append(f"`{path}`")
    cells += [f"{folder}: {', '.join(names)}" for folder, names in scripts.items()]
    return "; ".join(cells)


def page(clauses):
    """The page as text."""
    rfcs = sorted({clause.rfc for clause in clauses})
    lines = [
        "# What the RFCs ask for, and where it is done",
        "",
        "Generated by `ci/rfc_ledger.py --write` from `ci/rfc_clauses.toml` and the citations in the sources; not to be",
        "edited. Scripts are named by their folder and name below `stack/tests/scripts`.",
        "",
        "| RFC | MUST | shown | departures | SHOULD | shown or done | departures | open |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rfc in rfcs:
        of = [clause for clause in clauses if clause.rfc == rfc and not clause.elsewhere]

        def count(level, *states):
            return sum(clause.level == level and (not states or clause.state in states) for clause in of)

        lines.append(
            f"| {rfc} | {count('MUST')} | {count('MUST', 'shown')} | {count('MUST', 'departure')} "
            f"| {count('SHOULD')} | {count('SHOULD', 'shown', 'done')} | {count('SHOULD', 'departure')} "
            f"| {count('SHOULD', 'open') + count('MUST', 'open', 'done')} |"
        )
    lines += ["", "## Departures", ""]
    for clause in clauses:
        if clause.departure:
            lines.append(
                f"- **RFC {clause.rfc} {clause.name}** ({clause.level}): {clause.text} "
                f"*We do otherwise:* {clause.departure}. *On the wire:* {clause.effect}."
            )
    for rfc in rfcs:
        lines += ["", f"## RFC {rfc}", "", "| clause | what it asks | where it is done | what shows it |"]
        lines.append("| --- | --- | --- | --- |")
        for clause in (clause for clause in clauses if clause.rfc == rfc):
            text = clause.text.replace("|", "\\|")
            done, shown = places(clause.at), places(clause.shown)
            if clause.elsewhere:
                done = f"elsewhere: {clause.elsewhere}"
            elif clause.departure:
                done = "departure"
            elif clause.state == "open":
                done = "open"
            lines.append(f"| {clause.name} ({clause.section}) {clause.level} | {text} | {done} | {shown} |")
    return "\n".join(lines) + "\n"


def main():
    """Writes or checks the page, and prints each fault and a sum; ends with 1 if there was a fault."""
    parser = argparse.ArgumentParser(description="The ledger of the RFCs' clauses.")
    parser.add_argument("--write", action="store_true", help="write the page instead of comparing it")
    parser.add_argument("--texts", type=Path, metavar="DIR", help="a folder with RFCs as text, to compare with")
    arguments = parser.parse_args()
    clauses = read_clauses()
    faults = []
    if arguments.texts:
        faults += [fault for clause in clauses if (fault := fault_of_text(arguments.texts, clause))]
    gather(clauses)
    faults += faults_of(clauses)
    text = page(clauses)
    if arguments.write:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        faults.append(f"{PAGE.relative_to(REPOSITORY)} is stale: ci/rfc_ledger.py --write")
    print("\n".join(faults), end="\n" if faults else "")
    states = [clause.state for clause in clauses]
    print(f"{len(clauses)} clauses, {states.count('open')} open, {states.count('departure')} departures, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
