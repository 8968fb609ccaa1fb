# SPDX-License-Identifier: GPL-3.0-or-later
"""Token buckets that all workers see: each tells the others, by way of the supervisor, what it has spent.

A worker decides by its own copy and tells what was spent a few times a second, all in one line; so an account that
sends through several workers at once may spend what it can send in a tenth of a second more than its bucket has, and
works it off as any debt. The supervisor keeps a copy for workers that start later, and hands it on when it replaces
itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from relay_agent.policy.buckets import Buckets, Rate

__all__ = ["SharedBuckets", "Spent", "spend_all"]

_TOLD_EVERY = 0.1  # seconds

Spent = list[list[Any]]


class SharedBuckets(Buckets):
    """A worker's copy. tell: passes on what was spent here since the last time."""

    def __init__(self, tell: Callable[[Spent], None]) -> None:
        super().__init__()
        self._tell = tell
        self._untold: Counter[tuple[str, Rate]] = Counter()

    def spend(self, key: str, rate: Rate, amount: int) -> None:
        """As of `Allowance`."""
        super().spend(key, rate, amount)
        if rate.per_hour:
            if not self._untold:
                asyncio.get_running_loop().call_later(_TOLD_EVERY, self.tell)
            self._untold[key, rate] += amount

    def tell(self) -> None:
        """Pass it on now."""
        if self._untold:
            spent = [[key, rate.per_hour, rate.burst, amount] for (key, rate), amount in self._untold.items()]
            self._untold.clear()
            self._tell(spent)

    def spent_elsewhere(self, spent: Spent) -> None:
        """Another worker has spent this."""
        for key, per_hour, burst, amount in spent:
            super().spend(key, Rate(per_hour, burst), amount)


def spend_all(buckets: Buckets, spent: Spent) -> None:
    """Count it in the supervisor's copy."""
    for key, per_hour, burst, amount in spent:
        buckets.spend(key, Rate(per_hour, burst), amount)
