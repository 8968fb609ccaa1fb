# SPDX-License-Identifier: GPL-3.0-or-later
"""When a deferred recipient is tried again, and when it has been tried long enough."""

from __future__ import annotations

import random
from collections.abc import Sequence

__all__ = ["JITTER", "in_words", "next_attempt"]

JITTER = 0.1  # share of the wait by which it is varied, so that what failed together does not return together


def next_attempt(
    now: float, attempts: int, expires: float, *, first: float, longest: float, waits: Sequence[float] = ()
) -> float | None:
    """When to try again, in seconds since the epoch; None when the message has expired.

    now: when the attempt ended. attempts: how many there were, this one included (1 or more). first, longest:
    waits in seconds; the first doubles with every attempt up to the longest. waits: in place of the first of these, in
    seconds (a host that greylists). The last attempt is made at the
    moment of expiry, not before it.
    """
    if now >= expires:
        return None
    if attempts <= len(waits):
        # Never sooner: who greylists counts the minutes.
        wait = waits[attempts - 1] * (1 + random.uniform(0, JITTER))  # noqa: S311 - not a secret
    else:
        wait = min(first * 2.0 ** min(attempts - 1, 60), longest)
        wait *= 1 + random.uniform(-JITTER, JITTER)  # noqa: S311 - not a secret
    return min(now + wait, expires)


def in_words(seconds: float) -> str:
    """A span of time as a person says it, to its largest unit: ``5 days``, ``1 hour``, ``90 minutes``."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size or abs(seconds - size) < 1:
            count = round(seconds / size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    count = max(round(seconds), 0)
    return f"{count} second{'s' if count != 1 else ''}"
