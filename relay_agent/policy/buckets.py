# SPDX-License-Identifier: GPL-3.0-or-later
"""Token buckets: so much an hour in the long run, so much at once after a while of silence.

What is spent is counted when a message was accepted, not when it was begun, so that nobody pays for what was
refused. Messages under way at the same moment can therefore overdraw a bucket; the debt is worked off before
the next one is let in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Allowance", "Buckets", "Rate"]

_SWEEP = 10_000  # buckets, before those that are full again are looked for


@dataclass(slots=True, frozen=True)
class Rate:
    """per_hour: what flows back in an hour, 0 for no limit. burst: what there is at most."""

    per_hour: int
    burst: int


class Allowance(Protocol):
    """Where sessions ask and spend: buckets of this process, or lots leased from a supervisor."""

    def wait(self, key: str, rate: Rate, amount: int) -> float:
        """Seconds until `amount` may be spent: 0 for now, infinity for never. Spends nothing."""

    def spend(self, key: str, rate: Rate, amount: int) -> None:
        """Spend `amount`, even when it is not there."""


class Buckets:
    """Buckets by key, kept only while they are not full. clock: seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, float, Rate]] = {}  # what there was, when, and by which rate
        self._sweep_at = _SWEEP

    def __len__(self) -> int:
        return len(self._left)

    def wait(self, key: str, rate: Rate, amount: int) -> float:
        """As of `Allowance`."""
        if not rate.per_hour:
            return 0.0
        if amount > rate.burst:
            return math.inf
        missing = amount - self._now_in(key, rate, self._clock())
        return max(0.0, missing * 3600 / rate.per_hour)

    def spend(self, key: str, rate: Rate, amount: int) -> None:
        """As of `Allowance`."""
        if not rate.per_hour:
            return
        now = self._clock()
        self._left[key] = (self._now_in(key, rate, now) - amount, now, rate)
        if len(self._left) >= self._sweep_at:
            self._sweep(now)

    def export(self) -> list[list[Any]]:
        """What is not full, JSON-ready, for another process of this host (`clock` must be the host's)."""
        return [[key, left, then, rate.per_hour, rate.burst] for key, (left, then, rate) in self._left.items()]

    def restore(self, state: list[list[Any]]) -> None:
        """Go on from `export`."""
        self._left.update((key, (left, then, Rate(hour, burst))) for key, left, then, hour, burst in state)

    def _now_in(self, key: str, rate: Rate, now: float) -> float:
        left, then, _ = self._left.get(key, (float(rate.burst), now, rate))
        return min(float(rate.burst), left + (now - then) * rate.per_hour / 3600)

    def _sweep(self, now: float) -> None:
        """Forget buckets that are full again: they are as if they had never been."""
        self._left = {
            key: state for key, state in self._left.items() if self._now_in(key, state[2], now) < state[2].burst
        }
        self._sweep_at = max(_SWEEP, 2 * len(self._left))
