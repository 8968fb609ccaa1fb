# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of `make bench-deploy`: a row each, with what is to be reached, and the table of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from streaming import Stream

__all__ = ["BenchFailedError", "Figure", "recap", "table", "tasks_of_one_host", "timed"]

_RECAP = re.compile(r"^(\S+)\s*:\s*ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)\s+skipped=(\d+)", re.M)


class BenchFailedError(Exception):
    """A command that was to be measured failed; the text says which."""


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, the target, and what it was; `limit` and `measured` are in `unit`, seconds mostly."""

    name: str
    target: str
    limit: float
    measured: float | None
    remark: str = ""
    unit: str = "s"

    @property
    def missed(self) -> bool:
        """Whether it was measured and is beyond its target."""
        return self.measured is not None and self.measured > self.limit

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as it is shown."""
        if self.measured is None:
            return (self.name, self.target, "not measured", "", self.remark)
        shown = f"{self.measured:.1f} s" if self.unit == "s" else f"{self.measured:.0f}"
        return (self.name, self.target, shown, "MISSED" if self.missed else "reached", self.remark)


@dataclass(frozen=True)
class Outcome:
    """What Ansible's recap counts for a host."""

    ok: int
    changed: int
    unreachable: int
    failed: int
    skipped: int


def table(rows: list[tuple[str, ...]]) -> str:
    """Left-aligned columns, the first row as heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [rows[0], tuple("-" * width for width in widths), *rows[1:]]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def timed(stream: Stream, what: str, command: list[str], *, env: Mapping[str, str] | None = None) -> tuple[float, str]:
    """Seconds and output of a command. Raises BenchFailedError."""
    stream.say(f"\n=== {what}: {' '.join(command)}")
    outcome = stream.run(what, command, env=env)
    if outcome.status:
        raise BenchFailedError(f"{what} failed (exit status {outcome.status})")
    return outcome.seconds, outcome.output


def recap(output: str) -> dict[str, Outcome]:
    """The last recap of a playbook's output, by host."""
    return {host: Outcome(*map(int, counts)) for host, *counts in _RECAP.findall(output)}


def tasks_of_one_host(output: str, host: str) -> int:
    """Tasks that the recap counts for a host: ok (changed among them) and skipped. Raises BenchFailedError."""
    counted = recap(output).get(host)
    if counted is None:
        raise BenchFailedError(f"no recap line for {host}")
    return counted.ok + counted.skipped
