# SPDX-License-Identifier: GPL-3.0-or-later
"""What is published next to what should be, in words: a table, the lines that mend it, and the same for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils import agent_package  # noqa: F401  finds relay_agent
from ansible_collections.postroad.relay.plugins.plugin_utils.plain_words import plain
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.output import zone_lines
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.plan import judge
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Record

from relay_agent.name_server import Answer

__all__ = ["Row", "as_json", "compare", "render", "verdict"]

HEADINGS = ("name", "type", "asked", "state")
_STATES = {"good": "as it should be", "missing": "MISSING", "wrong": "WRONG", "unknown": "UNKNOWN"}


@dataclass(frozen=True)
class Row:
    """One record at one server. state: good, missing, wrong, or unknown when nobody answered.

    add, remove: lines of a zone file to put in or to take out.
    """

    record: Record
    server: str
    state: str
    says: str = ""
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    found: tuple[str, ...] = ()


def compare(record: Record, server: str, answer: Answer | str) -> Row:
    """answer: what the server has, or in words why that is not known."""
    if isinstance(answer, str):
        return Row(record, server, "unknown", answer)
    judged = judge(record, answer.values, ttl=answer.ttl, beside=answer.beside)
    found = tuple(sorted(answer.values))
    add = tuple(zone_lines(record, record.values if judged.in_the_way else judged.add))
    in_the_way = (zone_lines(replace(record, kind=kind), [value]) for kind, value in sorted(judged.in_the_way))
    remove = (*zone_lines(record, judged.remove | judged.unwanted), *chain.from_iterable(in_the_way))
    state = "wrong" if judged.state == "foreign" else judged.state
    return Row(record, server, state, judged.says, add, remove, found)


def render(rows: Sequence[Row]) -> str:
    """The table; the lines that mend it, once each; what each record is for."""
    cells = [HEADINGS, *(_cells(row) for row in _together(rows))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS) - 1)]

    def shown(line: tuple[str, ...]) -> str:
        return "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()

    lines = [shown(cells[0]), shown(tuple("-" * width for width in [*widths, 5])), *map(shown, cells[1:])]
    for title, name in (("take out", "remove"), ("put in", "add")):
        wanted = list(dict.fromkeys((line, row.record.why) for row in rows for line in getattr(row, name)))
        if wanted:
            lines += ["", f"to mend it, {title}:"]
            why = ""
            for line, reason in wanted:
                if reason != why:
                    lines.append(f"  ; {plain(reason)}")
                    why = reason
                lines.append(f"  {plain(line)}")
    return "\n".join(lines)


def _together(rows: Iterable[Row]) -> list[Row]:
    """One row for all servers that say the same."""
    gathered: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        gathered.setdefault((row.record.owner, row.record.kind + row.record.beginning, row.state, row.says), []).append(
            row
        )
    found = []
    for same in gathered.values():
        servers = ", ".join(dict.fromkeys(row.server for row in same))
        found.append(Row(same[0].record, servers, same[0].state, same[0].says))
    return found


def _cells(row: Row) -> tuple[str, ...]:
    kind = f"{row.record.kind} ({row.record.beginning})" if row.record.beginning else row.record.kind
    state = _STATES[row.state]
    return (row.record.owner.rstrip("."), kind, row.server, f"{state}: {plain(row.says)}" if row.says else state)


def verdict(rows: Sequence[Row]) -> str:
    """In one sentence what is wrong; "" when nothing is."""
    bad = [row for row in _together(rows) if row.state != "good"]
    if not bad:
        return ""
    counted = {state: sum(row.state == state for row in bad) for state in ("missing", "wrong", "unknown")}
    words = {"missing": "missing", "wrong": "wrong", "unknown": "that nobody could be asked for"}
    parts = [f"{number} {words[state]}" for state, number in counted.items() if number]
    return f"records: {', '.join(parts)}; see the table above"


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "name": row.record.owner,
            "type": row.record.kind,
            "why": row.record.why,
            "server": row.server,
            "state": row.state,
            "says": row.says,
            "wanted": list(row.record.values),
            "found": list(row.found),
            "add": list(row.add),
            "remove": list(row.remove),
        }
        for row in rows
    ]
