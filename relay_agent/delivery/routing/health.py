# SPDX-License-Identifier: GPL-3.0-or-later
"""How the hosts of one delivery side behave, by what came of mail: one in trouble rests, and comes back by itself.

While a host rests it is tried last. When its rest is over one connection goes there first, as a probe; success brings
it back for all, another failure makes the next rest longer.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay_agent.delivery.outcome import Cause, Deferred
from relay_agent.observability import measured

if TYPE_CHECKING:
    from relay_agent.delivery.route import Target

__all__ = ["FIRST_REST", "LONGEST_REST", "Health"]

FIRST_REST = 30.0  # seconds; doubles with each failed probe
LONGEST_REST = 1800.0
_JITTER = 0.1
_PROBE_FOR = 120.0  # seconds that a probe may take before another one is sent
_MOST_HOSTS = 10_000
_STALE = 3600.0  # seconds after the end of its rest that an MX host's trouble is forgotten, if nobody asks for it


@dataclass(slots=True)
class _Trouble:
    """since: seconds since the epoch. rest_until, probe_until: of the monotonic clock."""

    since: float
    failures: int
    rest_until: float
    cause: Cause
    text: str
    probe_until: float = 0.0


class Health:
    """The hosts in trouble; all others are well. told: learns of each change, `host_rests` or `host_recovered`."""

    def __init__(
        self,
        told: Callable[[str, Target, Deferred | None, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._told = told
        self._clock = clock
        self._troubled: dict[Target, _Trouble] = {}

    def order(self, choices: Sequence[tuple[int, Target]]) -> list[tuple[int, Target]]:
        """Preferences and targets, best first: those in trouble go to the end, in their order. One whose rest is over
        goes before its equals, if none better is well: whoever asked is the probe."""
        if not self._troubled:
            return list(choices)
        now = self._clock()
        well = [each for each in choices if each[1] not in self._troubled]
        troubled = [each for each in choices if each[1] in self._troubled]
        for place, (preference, target) in enumerate(troubled):
            trouble = self._troubled[target]
            due = trouble.rest_until <= now and trouble.probe_until <= now
            if due and (not well or preference <= well[0][0]):
                trouble.probe_until = now + _PROBE_FOR
                return [troubled.pop(place), *well, *troubled]
        return well + troubled

    def is_well(self, target: Target) -> bool:
        """Whether a host has no trouble that we know of."""
        return target not in self._troubled

    def trouble(self, target: Target, outcome: Deferred) -> None:
        """A host took nothing."""
        now = self._clock()
        cause = outcome.cause or (Cause.CONNECTION if outcome.status.startswith("4.4.") else Cause.REFUSED)
        known = self._troubled.get(target)
        measured.HOST_TROUBLES[cause.value] += 1
        if known is not None and known.rest_until > now:
            # Tried last and in vain: nothing new, and no reason for a longer rest.
            known.cause, known.text = cause, outcome.text
            return
        failures = known.failures + 1 if known is not None else 1
        rest = min(FIRST_REST * 2.0 ** min(failures - 1, 20), LONGEST_REST)
        rest *= 1 + random.uniform(-_JITTER, _JITTER)  # noqa: S311 - not a secret
        since = known.since if known is not None else time.time()
        if len(self._troubled) >= _MOST_HOSTS:
            self._clean(now)
        self._troubled[target] = _Trouble(since, failures, now + rest, cause, outcome.text)
        if self._told is not None:
            self._told("host_rests", target, outcome, rest)

    def success(self, target: Target) -> None:
        """A host took a message."""
        known = self._troubled.pop(target, None)
        if known is not None:
            measured.HOST_RECOVERIES.add()
            if self._told is not None:
                self._told("host_recovered", target, None, time.time() - known.since)

    def forget(self) -> None:
        """Take all hosts for well again."""
        self._troubled.clear()

    def _clean(self, now: float) -> None:
        stale = [target for target, each in self._troubled.items() if each.rest_until + _STALE < now]
        for target in stale or list(self._troubled)[: _MOST_HOSTS // 2]:
            del self._troubled[target]

    def snapshot(self, targets: Sequence[Target]) -> list[dict[str, Any]]:
        """For the status: the state of these hosts (`well`, `rests`, `due` or `probed`). Times in seconds."""
        return [self._shown(target) for target in dict.fromkeys(targets)]

    def _shown(self, target: Target) -> dict[str, Any]:
        known = self._troubled.get(target)
        shown: dict[str, Any] = {"name": target.label, "user": target.username, "state": "well"}
        if known is None:
            return shown
        now = self._clock()
        state = "rests" if known.rest_until > now else "probed" if known.probe_until > now else "due"
        return shown | {
            "state": state,
            "cause": known.cause.value,
            "last_error": known.text,
            "since": known.since,
            "failures": known.failures,
            "rests_for": round(max(known.rest_until - now, 0.0), 1),
        }
