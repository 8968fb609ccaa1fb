# SPDX-License-Identifier: GPL-3.0-or-later
"""What all processes of an agent have counted since it started, those that have ended included.

A worker's numbers are kept as it told them last. When it ends they become part of the past, so that no total ever
goes back: a worker that is killed takes with it only what it had not told anybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from relay_agent.observability.metrics import Registry, Series, Snapshot, as_snapshot

__all__ = ["Totals"]


class Totals:
    """The supervisor's books. Snapshots are checked: they may come from a worker of another release."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._past: dict[str, Series] = {}
        self._last: dict[int, Snapshot] = {}

    def told(self, serial: int, snapshot: Snapshot) -> None:
        """A worker tells what it has counted since it began. serial: its own for as long as the agent runs.

        Raises TypeError, ValueError or AttributeError for what is no snapshot; nothing changes then.
        """
        self._add({}, snapshot)
        self._last[serial] = snapshot

    def ended(self, serial: int) -> None:
        """A worker has ended."""
        self._add(self._past, self._last.pop(serial, {}))

    def sums(self, own: Snapshot) -> dict[str, Series]:
        """The sum of all, `own` of this very process included; every known series that counts, from 0 on."""
        sums: dict[str, Series] = {each.name: each.zeros() for each in self._registry if each.kind != "gauge"}
        for name, series in self._past.items():
            sums[name].update({labels: list(numbers) for labels, numbers in series.items()})
        for snapshot in (own, *self._last.values()):
            self._add(sums, snapshot)
        return sums

    def export(self, own: Snapshot) -> dict[str, Any]:
        """All of it, JSON-ready, for another program of this process. `own` ends with this program."""
        past = {name: {labels: list(numbers) for labels, numbers in each.items()} for name, each in self._past.items()}
        self._add(past, own)
        return {"past": as_snapshot(past), "last": [[serial, snapshot] for serial, snapshot in self._last.items()]}

    def restore(self, state: dict[str, Any], alive: Iterable[int]) -> None:
        """Go on from `export`; alive: the serials of the workers that there still are."""
        self._add(self._past, state["past"])
        here = set(alive)
        for serial, snapshot in state["last"]:
            self._last[serial] = snapshot
            if serial not in here:
                self.ended(serial)

    def _add(self, sums: dict[str, Series], snapshot: Snapshot) -> None:
        for name, found in snapshot.items():
            definition = self._registry.get(name)
            if definition is None or definition.kind == "gauge":
                continue
            series = sums.setdefault(name, {})
            for labels, numbers in found:
                # Another release may have other labels or buckets: those numbers begin anew.
                if len(labels) == len(definition.labels) and len(numbers) == definition.width:
                    before = series.get(tuple(labels)) or [0] * definition.width
                    series[tuple(labels)] = [one + other for one, other in zip(before, numbers, strict=True)]
