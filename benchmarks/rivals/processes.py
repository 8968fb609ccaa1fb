# SPDX-License-Identifier: GPL-3.0-or-later
"""Processor time and memory of a program and all its children, from /proc."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Peak", "Stat", "cpu_seconds", "memory", "parse_smaps_rollup", "parse_stat", "tree"]

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    """Of /proc/PID/stat: the parent, own ticks, and those of children that ended and were waited for."""

    parent: int
    ticks: int
    children_ticks: int


def parse_stat(line: str) -> Stat:
    """Parse /proc/PID/stat (proc(5)); the command in parentheses may contain anything."""
    fields = line[line.rindex(")") + 2 :].split()
    return Stat(int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14]))


def parse_smaps_rollup(text: str) -> int:
    """Proportional set size in bytes: memory shared between the processes is counted once (proc(5))."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def tree(root: int) -> dict[int, Stat]:
    """The process and all that descend from it, as they are now."""
    found: dict[int, Stat] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = parse_stat((entry / "stat").read_text("latin-1"))
            except (OSError, ValueError):
                continue  # ended meanwhile
    members = {root} & found.keys()
    while True:
        more = {pid for pid, stat in found.items() if stat.parent in members} - members
        if not more:
            return {pid: found[pid] for pid in members}
        members |= more


def cpu_seconds(root: int) -> float:
    """Processor time of the tree since it began, that of children that ended included."""
    return sum(stat.ticks + stat.children_ticks for stat in tree(root).values()) / _TICK


def memory(root: int) -> int:
    """Proportional set size of the tree in bytes."""
    total = 0
    for pid in tree(root):
        try:
            total += parse_smaps_rollup(Path(f"/proc/{pid}/smaps_rollup").read_text("ascii"))
        except OSError:
            continue
    return total


class Peak:
    """Samples the memory of a tree in a thread and keeps the largest; use as a context manager."""

    def __init__(self, root: int, every: float = 0.5) -> None:
        self.bytes = 0
        self._root = root
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self.bytes = max(self.bytes, memory(self._root))

    def _sample(self) -> None:
        while not self._stop.wait(self._every):
            self.bytes = max(self.bytes, memory(self._root))
