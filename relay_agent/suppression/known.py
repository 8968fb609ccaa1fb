# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker knows of the recipients that are not to be written to: one look-up at RCPT."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from relay_agent.config.schema import Suppression
from relay_agent.suppression.entry import EVERYBODY, NETWORK, Cause, Entry, Gone, fold, parse_change

__all__ = ["Known", "Suppressed"]


@dataclass(slots=True, frozen=True)
class Suppressed:
    """An entry as a worker keeps it. last: seconds since the epoch."""

    owner: str
    cause: Cause
    reason: str
    last: float


class Known:
    """The active entries, by address."""

    def __init__(self, config: Suppression) -> None:
        self._config = config
        self._entries: dict[str, tuple[Suppressed, ...]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, changes: Iterable[Entry | Gone | None]) -> None:
        """Take up what the file says."""
        for change in changes:
            if change is not None:
                self._apply(change)

    def hear(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take up what the supervisor tells; what cannot be understood (of another release) is passed by."""
        for record in records:
            with suppress(ValueError):
                self._apply(parse_change(record))

    def _apply(self, change: Entry | Gone) -> None:
        others = tuple(each for each in self._entries.get(change.address, ()) if each.owner != change.owner)
        if isinstance(change, Entry) and change.active:
            others = (*others, Suppressed(change.owner, change.cause, change.reason, change.last))
        if others:
            self._entries[change.address] = others
        else:
            self._entries.pop(change.address, None)

    def find(self, address: str, account: str | None) -> Suppressed | None:
        """Why this account (None or "": a trusted network) should not write to this address; None if it may.

        A complaint or a person's entry comes before a bounce.
        """
        if not self._entries:
            return None
        found = self._entries.get(fold(address))
        if found is None:
            return None
        owner = account or NETWORK
        now, keep = time.time(), self._config.keep
        counted = [
            each
            for each in found
            if (self._config.scope == "host" or each.owner in (owner, EVERYBODY))
            and (not keep or each.cause is Cause.MANUAL or now - each.last <= keep)
        ]
        return min(counted, key=lambda each: each.cause is Cause.BOUNCE, default=None)

    def has_bounced(self, address: str) -> bool:
        """Whether the address is in here for bounces."""
        return bool(self._entries) and any(each.cause is Cause.BOUNCE for each in self._entries.get(fold(address), ()))
