# SPDX-License-Identifier: GPL-3.0-or-later
"""Latencies, every one kept: percentiles are exact, and processes are merged by putting theirs together."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from math import ceil

__all__ = ["Latencies"]


class Latencies:
    """Seconds, eight bytes each."""

    __slots__ = ("_sorted", "_values")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._values = array("d", values)
        self._sorted = False

    def __len__(self) -> int:
        return len(self._values)

    def add(self, seconds: float) -> None:
        """One more."""
        self._values.append(seconds)
        self._sorted = False

    def merge(self, other: Latencies) -> None:
        """All of another's."""
        self._values.extend(other._values)
        self._sorted = False

    def percentile(self, percent: float) -> float:
        """The smallest value that `percent` of the values do not exceed (nearest rank); 0 when there are none."""
        if not self._values:
            return 0.0
        if not self._sorted:
            self._values = array("d", sorted(self._values))
            self._sorted = True
        return self._values[max(0, ceil(len(self._values) * percent / 100) - 1)]

    def summary(self) -> dict[str, float]:
        """Count, mean, p50, p90, p99, p99.9 and maximum, in milliseconds."""
        count = len(self._values)
        shown = {f"p{percent:g}": self.percentile(percent) * 1000 for percent in (50, 90, 99, 99.9)}
        shown["max"] = self.percentile(100) * 1000
        shown["mean"] = sum(self._values) / count * 1000 if count else 0.0
        return {"count": count, **{key: round(value, 3) for key, value in shown.items()}}
