# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits that hold for the whole host, kept by several processes: leased in small lots from the supervisor.

The supervisor's `LeaseOffice` knows how much of each limit which worker holds. A worker's `Leases` decides at
once, from what it holds, and asks for the next lot in the background; it gives back what it does not use, at once
when another worker needs it.

While an answer is on its way a worker goes ahead with a few on credit, so that nobody waits for a conversation
between two processes. The credit is bounded: with W workers a limit L may for a moment be exceeded by
W * max(1, min(64, L // 8)); and close to the limit a worker may refuse for a tenth of a second what another one
still has in hand, until that is called back. When the supervisor does not answer, the credit is also all that is
let in beyond what the worker holds (fail closed, with a margin): an overload that silences the supervisor must not
lift the limits too.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["LeaseOffice", "Leases", "Lessor"]

_MOST_CREDIT = 64
_LARGEST_LOT = 256
_SHARE = 8  # a lot is this part of the limit
_KEPT = 5.0  # seconds that a lot without use is kept
_PREPARED_WITHIN = 2.0  # seconds
_PAUSE = 0.1  # seconds after a refusal in which the office is not asked again


class Lessor(Protocol):
    """The way from a worker to the office."""

    def take(self, key: str, limit: int, amount: int) -> Awaitable[int]:
        """Ask for `amount` more of `key`; returns how much was granted, however late the answer is: the office has
        booked it. May raise anything once there is no office any more."""

    def give(self, key: str, amount: int) -> None:
        """Give some back."""


class LeaseOffice:
    """The supervisor's books: what each holder has of each limit.

    recall: called with a key and the holders that are asked to give back what they do not use.
    """

    def __init__(self, recall: Callable[[str, list[int]], None] = lambda key, holders: None) -> None:
        self._held: dict[str, Counter[int]] = {}
        self._recall = recall

    def take(self, holder: int, key: str, limit: int, amount: int) -> int:
        """Grant up to `amount`; what is granted in all stays within `limit`."""
        held = self._held.setdefault(key, Counter())
        granted = max(0, min(amount, limit - held.total()))
        if granted:
            held[holder] += granted
        if granted < amount:
            others = [each for each, count in held.items() if each != holder and count]
            if others:
                self._recall(key, others)
        if not held:
            del self._held[key]
        return granted

    def give(self, holder: int, key: str, amount: int) -> None:
        """Take back."""
        held = self._held.get(key)
        if held is None:
            return
        held[holder] -= min(amount, held[holder])
        if held[holder] <= 0:
            del held[holder]
        if not held:
            del self._held[key]

    def forget(self, holder: int) -> None:
        """The holder has ended: all that it had is free."""
        for key in [key for key, held in self._held.items() if holder in held]:
            self.give(holder, key, self._held[key][holder])

    def held(self, key: str) -> int:
        """How much of a limit is out."""
        return self._held[key].total() if key in self._held else 0

    def export(self) -> dict[str, Any]:
        """The books, JSON-ready."""
        return {key: {str(holder): count for holder, count in held.items()} for key, held in self._held.items()}

    def restore(self, books: dict[str, Any]) -> None:
        """Go on with the books of `export`."""
        self._held = {
            key: Counter({int(holder): int(count) for holder, count in held.items()}) for key, held in books.items()
        }


@dataclass(slots=True)
class _Account:
    limit: int
    used: int = 0
    leased: int = 0
    asking: bool = False
    refused_until: float = 0.0
    last_use: float = 0.0


class Leases:
    """A worker's side. Without a lessor the worker is alone, and the limit is its own."""

    def __init__(self, lessor: Lessor | None = None) -> None:
        self._lessor = lessor
        self._accounts: dict[str, _Account] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeping = False
        self._retired = False

    def used(self, key: str) -> int:
        """How much of a limit this worker uses."""
        account = self._accounts.get(key)
        return account.used if account else 0

    def take(self, key: str, limit: int) -> bool:
        """Use one of `limit`; False when there is none to be had. Every True is given back by `give`."""
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _Account(limit)
        account.limit = limit
        if account.used >= limit:
            self._drop_unused(key, account)
            return False
        if self._lessor is None:
            account.used += 1
            return True
        now = account.last_use = time.monotonic()
        if account.used >= account.leased:
            credit = max(1, min(_MOST_CREDIT, limit // _SHARE))
            if account.used - account.leased >= credit or now < account.refused_until:
                self._ask(key, account, now)
                return False
        account.used += 1
        # Ahead of need: a burst of connections does not wait for a conversation.
        if account.leased - account.used <= _lot(limit) // 2:
            self._ask(key, account, now)
        return True

    def give(self, key: str) -> None:
        """One is no longer used."""
        account = self._accounts.get(key)
        if account is None:
            return
        account.used -= 1
        if self._lessor is None:
            self._drop_unused(key, account)
            return
        account.last_use = time.monotonic()
        if self._retired:
            self.recalled(key)
            return
        spare = account.leased - account.used
        lot = _lot(account.limit)
        if spare > 2 * lot:
            self._give_back(key, account, spare - lot)
        self._sweep_later()

    async def prepare(self, key: str, limit: int) -> None:
        """Have a first lot in hand."""
        account = self._accounts.setdefault(key, _Account(limit))
        account.limit, account.last_use = limit, time.monotonic()
        if self._lessor is not None:
            self._ask(key, account, account.last_use)
            await asyncio.wait(set(self._tasks), timeout=_PREPARED_WITHIN)

    def recalled(self, key: str) -> None:
        """Another worker needs it: give back what is not in use."""
        account = self._accounts.get(key)
        if account is not None and account.leased > account.used:
            self._give_back(key, account, account.leased - account.used)
            self._drop_unused(key, account)

    def retire(self) -> None:
        """This worker takes nothing more: others get what it does not use at once, and the rest as it gets free."""
        self._retired = True
        for key in list(self._accounts):
            self.recalled(key)

    def _drop_unused(self, key: str, account: _Account) -> None:
        if not account.used and not account.leased and not account.asking:
            self._accounts.pop(key, None)

    def _give_back(self, key: str, account: _Account, amount: int) -> None:
        assert self._lessor is not None
        account.leased -= amount
        self._lessor.give(key, amount)

    def _ask(self, key: str, account: _Account, now: float) -> None:
        if account.asking or now < account.refused_until:
            return
        account.asking = True
        amount = min(_lot(account.limit) + max(0, account.used - account.leased), account.limit - account.leased)
        task = asyncio.get_running_loop().create_task(self._asked(key, account, amount))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _asked(self, key: str, account: _Account, amount: int) -> None:
        assert self._lessor is not None
        try:
            granted = await self._lessor.take(key, account.limit, amount) if amount > 0 else 0
        except Exception:
            # The supervisor is gone, and its books with it: the credit is all there is.
            return
        finally:
            account.asking = False
        account.leased += granted
        if granted < amount or not amount:
            account.refused_until = time.monotonic() + _PAUSE
        if self._retired:
            self.recalled(key)
        self._sweep_later()

    def _sweep_later(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(_KEPT, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        now = time.monotonic()
        for key, account in list(self._accounts.items()):
            if account.leased > account.used and now - account.last_use >= _KEPT:
                keep = min(account.leased, account.used)
                self._give_back(key, account, account.leased - keep)
            self._drop_unused(key, account)
        if any(account.leased > account.used for account in self._accounts.values()):
            self._sweep_later()


def _lot(limit: int) -> int:
    return max(1, min(_LARGEST_LOT, limit // _SHARE))
