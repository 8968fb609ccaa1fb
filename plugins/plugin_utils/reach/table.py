# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix of relays, ports and vantages as a table on a terminal, with what stands out below it; and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.plain_words import plain
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.judgement import (
    FAMILIES,
    everywhere,
    without_family,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.matrix import Matrix, Seen
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.relays import Relay
from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import LEVELS, level_of
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import DIFFERENCE, NOTICE, TROUBLE, Finding
from ansible_collections.postroad.relay.plugins.plugin_utils.status.table import MARKS

from relay_agent.probe.verdict import What

__all__ = ["Paint", "as_record", "cell", "render", "verdict"]

#: Gives a text a colour (green, yellow, red), or leaves it as it is.
Paint = Callable[[str, str], str]

_WORDS = {
    What.SILENT: "dropped",
    What.REFUSED: "refused",
    What.UNREACHABLE: "no way there",
    What.CUT: "cut off",
    What.STRIPPED: "STARTTLS taken out",
    What.CERTIFICATE: "not its certificate",
    What.UNKNOWN_AUTHORITY: "unknown authority",
    What.OTHER: "somebody else",
    What.PORTAL: "login page",
    What.TURNED_AWAY: "turned away",
    What.NO_SIGN_IN: "no sign-in",
    What.NO_TLS: "no TLS",
}
_INDENT = 2
_WIDE = 100  # characters of a line of names


def render(matrix: Matrix, findings: Sequence[Finding], paint: Paint = lambda text, _: text) -> str:
    """The table and the findings. Relays of which all vantages see the same share their lines."""
    vantages = matrix.looking
    heads = ("port", *(f"from {vantage}" for vantage in vantages))
    groups = _alike(matrix)
    rows: list[list[tuple[str, str]]] = []
    for _, relay in groups:
        for port in relay.ports:
            seen = [matrix.at(relay.name, vantage, port) for vantage in vantages]
            rows.append([(str(port), ""), *((cell(each), _colour(each)) for each in seen)])
    top, *lines = _aligned(heads, rows, paint)
    text = [top] if vantages else []
    for names, relay in groups if vantages else ():
        mark = MARKS[next((level for level in LEVELS if any(level_of(each, findings) == level for each in names)), "")]
        text += textwrap.wrap(", ".join(names), _WIDE, initial_indent=f"{mark} ", subsequent_indent="  ")
        text += lines[: len(relay.ports)]
        del lines[: len(relay.ports)]
    good = [f"{port} {kind}" for port, kind in everywhere(matrix)]
    if vantages:
        text += ["", f"From every vantage, at every relay: {', '.join(good) or 'no setting works'}"]
    for vantage in vantages:
        gone = [FAMILIES[family] for family in sorted(without_family(matrix, vantage))]
        if gone:
            text += ["", f"{vantage} has no way to any relay over {' or '.join(gone)}"]
    for level, heading in ((TROUBLE, "Trouble:"), (DIFFERENCE, "Unlike its siblings:"), (NOTICE, "To note:")):
        told: dict[str, list[str]] = {}
        for finding in findings:
            if finding.level == level:
                told.setdefault(f"{finding.about}: {finding.text}", []).append(finding.host)
        if told:
            text += ["", heading]
            text += [f"  {MARKS[level]} {plain(f'{_hosts(matrix, hosts)}: {words}')}" for words, hosts in told.items()]
    return "\n".join([*text, "", verdict(matrix, findings)]).strip("\n")


def cell(seen: Sequence[Seen]) -> str:
    """A port from one vantage: both address families in one word where they are alike."""
    if not seen:
        return "not tried"
    words = {FAMILIES[one.verdict.family]: _word(one) for one in seen}
    if len(set(words.values())) == 1:
        only = "" if len(words) > 1 else f" ({next(iter(words))})"
        return next(iter(words.values())) + only
    return ", ".join(f"{family} {word}" for family, word in words.items())


def verdict(matrix: Matrix, findings: Sequence[Finding]) -> str:
    """All in one sentence."""
    relays, vantages = len(matrix.relays), len(matrix.vantages)
    many = f"{relays} relay{'' if relays == 1 else 's'} from {vantages} vantage{'' if vantages == 1 else 's'}"
    troubled = len({finding.host for finding in findings if finding.level == TROUBLE})
    if troubled:
        return f"{many}: trouble with {troubled}"
    if findings:
        return f"{many}: every relay can be used from everywhere, with something to note"
    return f"{many}: every port can be used from everywhere"


def as_record(matrix: Matrix, findings: Sequence[Finding], at: float) -> dict[str, Any]:
    """JSON. `format` is raised when a key changes its meaning. at: seconds since the epoch."""
    return {
        "format": 1,
        "at": at,
        "verdict": verdict(matrix, findings),
        "everywhere": [{"port": port, "security": kind} for port, kind in everywhere(matrix)],
        "vantages": [
            {
                "vantage": each.name,
                "problem": each.problem or None,
                "python": each.python or None,
                "without": sorted(without_family(matrix, each.name)),
            }
            for each in matrix.vantages
        ],
        "relays": [
            {
                "relay": relay.name,
                "host": relay.host,
                "level": level_of(relay.name, findings) or None,
                "statement": _said(matrix, relay),
                "ports": [_entry(one) for one in matrix.seen if one.relay == relay.name],
                "unknown": {vantage: why for (name, vantage), why in matrix.unknown.items() if name == relay.name},
            }
            for relay in matrix.relays
        ],
        "findings": [
            {"host": each.host, "level": each.level, "about": each.about, "text": each.text} for each in findings
        ],
    }


def _hosts(matrix: Matrix, hosts: Sequence[str]) -> str:
    return "every relay" if len(hosts) == len(matrix.relays) > 2 else ", ".join(hosts)


def _said(matrix: Matrix, relay: Relay) -> dict[str, Any] | None:
    said = matrix.said.get(relay.name)
    if said is None:
        return None
    return {"key": said.key, "at": said.at, "ports": [{"port": port, "tls": tls} for port, tls in said.ports]}


def _entry(one: Seen) -> dict[str, Any]:
    judged = one.verdict
    return {
        "vantage": one.vantage,
        "port": judged.port,
        "tls": one.tls or None,
        "family": judged.family,
        "address": judged.address,
        "what": judged.what.value,
        "words": judged.words,
        "works": list(judged.works),
        "key": one.key or None,
        "seconds": judged.seconds,
    }


def _word(one: Seen) -> str:
    if not one.verdict.works:
        return _WORDS.get(one.verdict.what, one.verdict.what.value)
    slow = ", slow" if one.verdict.what is What.SLOW else ""
    return " and ".join(one.verdict.works) + slow


def _colour(seen: Sequence[Seen]) -> str:
    works = [bool(one.verdict.works) for one in seen]
    if not works:
        return ""
    return "green" if all(works) else "yellow" if any(works) else "red"


def _alike(matrix: Matrix) -> list[tuple[list[str], Relay]]:
    groups: dict[tuple[Any, ...], tuple[list[str], Relay]] = {}
    for relay in matrix.relays:
        cells = tuple(cell(matrix.at(relay.name, vantage, port)) for port in relay.ports for vantage in matrix.looking)
        groups.setdefault((relay.ports, cells), ([], relay))[0].append(relay.name)
    return list(groups.values())


def _aligned(heads: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]], paint: Paint) -> list[str]:
    """The lines of a table, the heads first. rows: cells, each with its colour or ""."""
    widths = [max(len(head), *(len(row[place][0]) for row in rows)) for place, head in enumerate(heads)]
    lines = []
    for row in [[(head, "") for head in heads], *rows]:
        texts = []
        for place, ((text, colour), width) in enumerate(zip(row, widths, strict=True)):
            last = place == len(row) - 1
            padded = text.rjust(width + _INDENT) if place == 0 else text if last else text.ljust(width)
            texts.append(paint(padded, colour) if colour else padded)
        lines.append("  ".join(texts))
    return lines
