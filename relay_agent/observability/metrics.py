# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters, gauges and histograms of one process, and the plain values that they travel in.

Each process counts for itself, in a dict: `CONNECTIONS[587, "starttls"] += 1` is all that a count costs. The
supervisor adds up what its workers tell it (`totals`), and only there numbers become text (`exposition`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, Literal

__all__ = ["MOST_SERIES", "OTHER", "Counter", "Definition", "Histogram", "Label", "Registry", "Series", "Snapshot"]

MOST_SERIES: Final = 200  # of one metric in one process; what is beyond them is added up as `other`
OTHER: Final = "other"
_MOST_ZEROS = 64  # series that are shown before they have counted anything

Kind = Literal["counter", "gauge", "histogram"]
# One metric's values by label values: [count] of a counter, [gauge], or the counts of a histogram's buckets (each for
# itself, the one without a bound last) and then the sum.
Series = dict[tuple[str, ...], list[float]]
# The same as JSON: by metric, pairs of label values and values.
Snapshot = dict[str, list[list[list[Any]]]]


@dataclass(frozen=True, slots=True)
class Label:
    """values: all that there can be; empty where the configuration or our own code names them."""

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Definition:
    """What a metric is. name: as it is exported. bounds: upper ends of a histogram's buckets, ascending."""

    name: str
    kind: Kind
    help: str
    labels: tuple[Label, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers a series has."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1

    def zeros(self) -> Series:
        """The series that exist before anything was counted: without them a rate misses the first event."""
        if self.kind == "gauge" or not all(label.values for label in self.labels):
            return {}
        known = list(product(*(label.values for label in self.labels)))
        return {labels: [0] * self.width for labels in known} if len(known) <= _MOST_ZEROS else {}

    def bounded(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Label values with `other` in place of those that were not declared."""
        return tuple(
            value if not label.values or value in label.values else OTHER
            for label, value in zip(self.labels, labels, strict=True)
        )


class Counter(dict[Any, float]):
    """Counts by label values: a text for one label, a tuple for more. Without labels there is `add`."""

    def __init__(self, definition: Definition) -> None:
        super().__init__()
        self.definition = definition

    def __missing__(self, key: Any) -> int:
        return 0

    def add(self, amount: float = 1) -> None:
        """Count, in a metric without labels."""
        self[()] += amount

    def series(self) -> Series:
        """What was counted so far, with no more series than `MOST_SERIES`."""
        found: Series = {}
        for key, value in self.items():
            values = key if isinstance(key, tuple) else (key,)
            labels = self.definition.bounded([str(each) for each in values])
            if labels not in found and len(found) >= MOST_SERIES:
                labels = (OTHER,) * len(labels)
            found.setdefault(labels, [0])[0] += value
        return found


class Histogram:
    """How often which values came. One search among a dozen bounds for each."""

    __slots__ = ("_bounds", "counts", "definition", "sum")

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self._bounds = definition.bounds
        self.counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value: it belongs to the first bucket whose bound is not smaller."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def series(self) -> Series:
        """What was observed so far."""
        return {(): [*self.counts, self.sum]}


class Registry:
    """All metrics of the agent, in the order they are shown in. Names begin with `postroad_`."""

    def __init__(self, prefix: str = "postroad_") -> None:
        self._prefix = prefix
        self._definitions: dict[str, Definition] = {}
        self._sources: list[tuple[str, Callable[[], Series]]] = []

    def counter(self, name: str, help: str, *labels: Label) -> Counter:
        """A count that only grows; `_total` is added to its name."""
        definition = self._define(Definition(f"{self._prefix}{name}_total", "counter", help, labels))
        counter = Counter(definition)
        self._sources.append((definition.name, counter.series))
        return counter

    def histogram(self, name: str, help: str, bounds: Iterable[float]) -> Histogram:
        """A distribution over buckets that end at these bounds."""
        definition = self._define(Definition(f"{self._prefix}{name}", "histogram", help, (), tuple(bounds)))
        if list(definition.bounds) != sorted(set(definition.bounds)):
            raise ValueError(f"{definition.name}: bounds must ascend")
        histogram = Histogram(definition)
        self._sources.append((definition.name, histogram.series))
        return histogram

    def gauge(self, name: str, help: str, *labels: Label) -> Definition:
        """A value that comes and goes; whoever asks reads it then (`readings`, `monitoring`)."""
        return self._define(Definition(f"{self._prefix}{name}", "gauge", help, labels))

    def _define(self, definition: Definition) -> Definition:
        if definition.name in self._definitions:
            raise ValueError(f"{definition.name} is defined twice")
        self._definitions[definition.name] = definition
        return definition

    def __iter__(self) -> Iterator[Definition]:
        return iter(self._definitions.values())

    def get(self, name: str) -> Definition | None:
        """The definition of an exported name."""
        return self._definitions.get(name)

    def snapshot(self) -> Snapshot:
        """What this process has counted so far, JSON-ready."""
        return as_snapshot({name: series() for name, series in self._sources})


def as_snapshot(values: Mapping[str, Series]) -> Snapshot:
    """JSON-ready, without metrics that have counted nothing."""
    return {
        name: [[list(labels), list(numbers)] for labels, numbers in series.items()]
        for name, series in values.items()
        if any(any(numbers) for numbers in series.values())
    }
