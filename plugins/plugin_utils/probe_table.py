# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges probes: which message arrived after how long, and what is to be said of those that did not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["HEADINGS", "Row", "judge", "not_probed", "render", "verdict"]

HEADINGS = ("host", "port", "TLS mode", "program", "message id", "seconds to the mailbox")


@dataclass(frozen=True)
class Row:
    """One probe. seconds is None when the message did not arrive; then problem says why."""

    host: str
    port: int | None
    tls: str
    program: str
    message_id: str
    seconds: float | None
    problem: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as it is shown."""
        arrived = "did not arrive" if self.seconds is None else f"{self.seconds:.2f}"
        return (self.host, str(self.port or "-"), self.tls, self.program, self.message_id, arrived)


def judge(host: str, submitted: Mapping[str, Any], arrived: Mapping[str, Any]) -> list[Row]:
    """The rows of one relay, of what submit_probe and await_arrivals returned for it ({} when they did not run)."""
    if "probes" not in submitted:
        reason = submitted.get("msg", "the vantage host gave no answer")
        return [Row(host, None, "-", "-", "-", None, f"nothing could be submitted: {reason}")]
    rows = []
    for probe in submitted["probes"]:
        message_id = probe["message_id"]
        when = arrived.get("arrivals", {}).get(message_id)
        problem = ""
        if not probe["ok"]:
            problem = f"not taken: {probe['reply']}"
        elif when is None:
            lost = arrived.get("lost", {}).get(message_id)
            unknown = f"taken, but the mailbox could not be looked at: {arrived.get('msg', 'no answer')}"
            problem = f"taken, but did not arrive: {lost}" if lost else unknown
        # Two hosts' clocks differ by some milliseconds: never less than nothing.
        seconds = max(0.0, float(when) - float(probe["submitted"])) if when is not None else None
        rows.append(Row(probe["host"], probe["port"], probe["tls"], probe["program"], message_id, seconds, problem))
    return rows


def not_probed(submitted: Mapping[str, Any]) -> list[str]:
    """What submit_probe left out on purpose, a line for each reason with the ports."""
    ports: dict[str, list[str]] = {}
    for each in submitted.get("left_out") or ():
        ports.setdefault(str(each["why"]), []).append(str(each["port"]))
    return [
        f"port{'s' if len(numbers) > 1 else ''} {', '.join(numbers)} not probed: {why}"
        for why, numbers in ports.items()
    ]


def render(rows: Sequence[Row]) -> str:
    """The table as text, numbers to the right."""
    lines = [HEADINGS, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    to_the_right = {1, len(HEADINGS) - 1}

    def shown(cells: Iterable[str]) -> str:
        return "  ".join(
            cell.rjust(widths[number]) if number in to_the_right else cell.ljust(widths[number])
            for number, cell in enumerate(cells)
        ).rstrip()

    return "\n".join([shown(lines[0]), shown("-" * width for width in widths), *map(shown, lines[1:])])


def verdict(rows: Sequence[Row]) -> str:
    """What did not arrive, a line for each host, program and reason, with the ports; "" when everything did."""
    bad = [row for row in rows if row.seconds is None]
    if not bad:
        return "" if rows else "no relay has a port that could be probed"
    ports: dict[tuple[str, str, str], list[str]] = {}
    for row in bad:
        ports.setdefault((row.host, row.program, row.problem), []).extend([str(row.port)] if row.port else [])
    lines = [f"{len(bad)} of {len(rows)} probe messages did not arrive:"]
    for (host, program, problem), numbers in ports.items():
        where = f" port{'s' if len(numbers) > 1 else ''} {', '.join(numbers)} ({program})" if numbers else ""
        lines.append(f"  {host}{where}: {problem}")
    return "\n".join(lines)
