#!/usr/bin/env python3
"""Writes the ledger of what the RFCs ask for: each MUST and SHOULD, where it is done, what shows it, or why it is not.

Usage: rfc_ledger.py [--write] [--texts DIR]
The clauses stand in rfc_clauses.toml beside this file, each with its words. A citation in the sources (see rfc_quotes.py)
belongs to a clause if one's words contain the other's. Where no citation can stand, the clause itself names the place
(`at`), or the test or script (`shown`). `departure` names the decision by which we do otherwise: each says once why, and
what is seen of it on the wire, however many clauses it departs from. `elsewhere` says whose business a clause is if not
ours, and `unread` that its words were not compared with the RFC, for want of its text.
Areas are the other way round: what a careful TCP does, by topic, each with the scripts and tests that show it.
Without --write nothing is written, and it fails if the page is not what would be written, if a MUST has neither a place
with something that shows it nor a departure, if there are more than five departures from MUSTs, or if something named does
not exist.
With --texts each clause's words must stand in the RFC, in DIR as for rfc_quotes.py, unless it is `unread`.
"""

import argparse
import re
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import rfc_quotes

REPOSITORY = rfc_quotes.REPOSITORY
CLAUSES = Path(__file__).resolve().parent / "rfc_clauses.toml"
PAGE = REPOSITORY / "stack" / "RFC.md"
# From MUSTs.
DEPARTURES_MAX = 5
KEYS = {"rfc", "section", "id", "level", "text", "at", "shown", "departure", "elsewhere", "unread"}


class Clause:
    """One thing that an RFC asks for."""

    def __init__(self, entry):
        if unknown := entry.keys() - KEYS:
            sys.exit(f"{CLAUSES.name}: {entry.get('id')}: no such key: {', '.join(unknown)}")
        self.rfc, self.section, self.level = entry["rfc"], entry["section"], entry["level"]
        self.name, self.text = entry["id"], rfc_quotes.squeezed(entry["text"])
        self.at, self.shown = set(entry.get("at", [])), set(entry.get("shown", []))
        self.named = sorted(self.at | self.shown)
        self.departure, self.elsewhere = entry.get("departure"), entry.get("elsewhere")
        self.unread = entry.get("unread", False)

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


@dataclass(frozen=True)
class Decision:
    """Why we do otherwise than some clauses ask, and what is seen of it."""

    name: str
    reason: str
    effect: str


@dataclass(frozen=True)
class Topic:
    """A part of an area: what a careful host does, what RFCs say of it, and the scripts and tests that show it."""

    area: str
    topic: str
    rfcs: tuple
    shown: tuple


def read():
    """The clauses, the decisions by their names, and the topics, all in the file's order."""
    with CLAUSES.open("rb") as file:
        found = tomllib.load(file)
    clauses = [Clause(entry) for entry in found["clause"]]
    decisions = [Decision(**entry) for entry in found["decision"]]
    topics = [Topic(entry["area"], entry["topic"], tuple(entry["rfcs"]), tuple(entry["shown"])) for entry in found["topic"]]
    return clauses, {decision.name: decision for decision in decisions}, topics


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
                    clause.departure = clause.departure or keys["reason"]
                else:
                    clause.at.add(place)


@cache
def source(path):
    """The text of a file of the repository, or None."""
    file = REPOSITORY / path
    return file.read_text(encoding="utf-8") if file.is_file() else None


def is_missing(named):
    """Whether a place that is named is not there: a file, `file::function`, or a folder of scripts."""
    path, _, function = named.partition("::")
    if path.endswith("/"):
        return not any((REPOSITORY / path).glob("*.pkt"))
    text = source(path)
    return text is None or bool(function) and not re.search(rf"\bfn {function}\b", text)


def faults_of(clauses, decisions, topics):
    """What is wrong, but for a stale page."""
    for clause in clauses:
        name = f"RFC {clause.rfc} {clause.name}"
        yield from (f"{name}: there is no {named}" for named in clause.named if is_missing(named))
        if clause.level == "MUST" and clause.state in ("open", "done"):
            lacks = "is done nowhere" if clause.state == "open" else "is shown by nothing"
            yield f"{name} {lacks}: {clause.text}"
        if clause.departure and clause.departure not in decisions:
            yield f"{name}: there is no decision {clause.departure}"
    used = {clause.departure for clause in clauses}
    yield from (f"nothing departs by the decision {name}" for name in decisions if name not in used)
    departed = {clause.departure for clause in clauses if clause.departure and clause.level == "MUST"}
    if len(departed) > DEPARTURES_MAX:
        yield f"{len(departed)} departures from MUSTs, over {DEPARTURES_MAX}"
    for topic in topics:
        name = f"{topic.area}: {topic.topic}"
        if not topic.shown:
            yield f"{name}: is shown by nothing"
        yield from (f"{name}: there is no {named}" for named in topic.shown if is_missing(named))


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
        if path.endswith("/"):
            cells.append(f"{folder}: all {len(list((REPOSITORY / path).glob('*.pkt')))}")
        elif path.endswith(".pkt"):
            scripts.setdefault(folder, []).append(name)
        else:
            cells.append(f"`{path}`")
    cells += [f"{folder}: {', '.join(names)}" for folder, names in scripts.items()]
    return "; ".join(cells)


def page(clauses, decisions, topics):
    """The page as text."""
    lines = [
        "# What the RFCs ask for, and where it is done",
        "",
        "Generated by `ci/rfc_ledger.py --write` from `ci/rfc_clauses.toml` and the citations in the sources; not to be",
        "edited. Scripts are named by their folder and name below `stack/tests/scripts`.",
        "",
        *table_of_counts(clauses),
        "",
        "## Departures",
        "",
        f"{len(decisions)} decisions to do otherwise than clauses ask.",
        "",
    ]
    for decision in decisions.values():
        of = [f"RFC {clause.rfc} {clause.name} ({clause.level})" for clause in clauses if clause.departure == decision.name]
        lines.append(f"- **{decision.name}**: {decision.reason}. *On the wire:* {decision.effect}. *Departs from:* {', '.join(of)}.")
    lines += ["", "## By area", "", "| area | topic | RFCs | what shows it |", "| --- | --- | --- | --- |"]
    for topic in topics:
        rfcs = ", ".join(map(str, topic.rfcs))
        lines.append(f"| {topic.area} | {topic.topic} | {rfcs} | {places(topic.shown)} |")
    for rfc in sorted({clause.rfc for clause in clauses}):
        of = [clause for clause in clauses if clause.rfc == rfc]
        lines += ["", f"## RFC {rfc}", ""]
        if any(clause.unread for clause in of):
            lines += ["Clauses with an asterisk were not compared with the RFC's text: Debian packs none that new.", ""]
        lines += ["| clause | what it asks | where it is done | what shows it |", "| --- | --- | --- | --- |"]
        lines += map(row, of)
    return "\n".join(lines) + "\n"


def table_of_counts(clauses):
    """How many clauses of each RFC have what become of them."""
    yield "| RFC | MUST | shown | departures | SHOULD | shown or done | departures | open |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for rfc in sorted({clause.rfc for clause in clauses}):
        of = [clause for clause in clauses if clause.rfc == rfc and not clause.elsewhere]

        def count(level, *states):
            return sum(clause.level == level and (not states or clause.state in states) for clause in of)

        yield (
            f"| {rfc} | {count('MUST')} | {count('MUST', 'shown')} | {count('MUST', 'departure')} "
            f"| {count('SHOULD')} | {count('SHOULD', 'shown', 'done')} | {count('SHOULD', 'departure')} "
            f"| {count('SHOULD', 'open') + count('MUST', 'open', 'done')} |"
        )


def row(clause):
    """A clause's row of its RFC's table."""
    done = places(clause.at)
    if clause.elsewhere:
        done = f"elsewhere: {clause.elsewhere}"
    elif clause.departure:
        done = f"departure: {clause.departure}"
    elif clause.state == "open":
        done = "open"
    text = clause.text.replace("|", "\\|")
    mark = "\\*" if clause.unread else ""
    return f"| {clause.name}{mark} ({clause.section}) {clause.level} | {text} | {done} | {places(clause.shown)} |"


def main():
    """Writes or checks the page, and prints each fault and a sum; ends with 1 if there was a fault."""
    parser = argparse.ArgumentParser(description="The ledger of the RFCs' clauses.")
    parser.add_argument("--write", action="store_true", help="write the page instead of comparing it")
    parser.add_argument("--texts", type=Path, metavar="DIR", help="a folder with RFCs as text, to compare with")
    arguments = parser.parse_args()
    clauses, decisions, topics = read()
    faults = []
    if arguments.texts:
        faults += [fault for clause in clauses if not clause.unread and (fault := fault_of_text(arguments.texts, clause))]
    gather(clauses)
    faults += faults_of(clauses, decisions, topics)
    text = page(clauses, decisions, topics)
    if arguments.write:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        faults.append(f"{PAGE.relative_to(REPOSITORY)} is stale: ci/rfc_ledger.py --write")
    print("\n".join(faults), end="\n" if faults else "")
    states = [clause.state for clause in clauses]
    print(f"{len(clauses)} clauses, {states.count('open')} open, departures: {len(decisions)}, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
