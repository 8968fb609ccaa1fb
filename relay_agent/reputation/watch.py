# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the block lists for our addresses, at intervals, in one process; remembers what they said."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from relay_agent.config.schema import Config
from relay_agent.delivery.outcome import UnresolvedError
from relay_agent.delivery.reply import printable
from relay_agent.observability import measured
from relay_agent.observability.log import EventLog
from relay_agent.reputation.addresses import own_addresses
from relay_agent.reputation.lists import NEVER_LISTED, judge, question, shown_list

if TYPE_CHECKING:
    from relay_agent.delivery.resolve import Resolver

__all__ = ["Finding", "ReputationWatch"]

_FIRST_WITHIN = 5.0  # seconds after the start
_AT_ONCE = 4  # questions
_JITTER = 0.1
_LONGEST_REASON = 300  # characters
# Both are good enough to spread relays that start together.
_chance = random.Random()  # noqa: S311

Address = IPv4Address | IPv6Address
OwnAddresses = Callable[["Resolver", str], Awaitable[Sequence[Address]]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one list says of one address. listed: None when it gave no usable answer, and problem says why.

    since: of the listing, seconds since the epoch. reason: the list's TXT record.
    """

    list: str
    address: str
    listed: bool | None
    checked: float
    since: float | None = None
    reason: str = ""
    problem: str = ""


class ReputationWatch:
    """One for the whole host. own: finds our addresses where the configuration names none."""

    def __init__(self, config: Config, log: EventLog, own: OwnAddresses = own_addresses) -> None:
        self._config = config
        self._log = log
        self._own = own
        self._findings: dict[tuple[str, str], Finding] = {}
        self._addresses: tuple[str, ...] | None = None
        self._task: asyncio.Task[None] | None = None
        self._problems: set[str] = set()  # that were logged

    # ---- beginning and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Ask from now on, if there is a list to ask."""
        if self._config.reputation.lists:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def export(self) -> list[dict[str, Any]]:
        """What was found, for another program of this process, JSON-ready."""
        return [asdict(each) for each in self._findings.values()]

    def restore(self, findings: list[dict[str, Any]]) -> None:
        """Go on from `export`: what is known already is not logged anew."""
        wanted = {shown_list(zone) for zone in self._config.reputation.lists}
        try:
            found = [Finding(**each) for each in findings]
        except TypeError:  # of another release
            return
        self._findings = {(each.list, each.address): each for each in found if each.list in wanted}

    # ---- telling --------------------------------------------------------------------------------------

    @property
    def findings(self) -> list[Finding]:
        """The last answers, in the order of the configuration."""
        return list(self._findings.values())

    def status(self) -> dict[str, Any] | None:
        """For `relay-agent status`, JSON-ready; None where nothing is asked. addresses: None before the first round."""
        if not self._config.reputation.lists:
            return None
        return {
            "addresses": None if self._addresses is None else list(self._addresses),
            "listings": [asdict(each) for each in self._findings.values()],
        }

    # ---- asking ---------------------------------------------------------------------------------------

    async def _run(self) -> None:
        await asyncio.sleep(_chance.uniform(0, min(_FIRST_WITHIN, self._config.reputation.every / 10)))
        while True:
            try:
                await self.look()
            except Exception as error:
                self._log.event("blocklist_fault", level="error", error=f"{type(error).__name__}: {error}")
            every = self._config.reputation.every
            await asyncio.sleep(every * _chance.uniform(1 - _JITTER, 1 + _JITTER))

    async def look(self) -> None:
        """One round. Resolvers that do not answer make findings without an answer, and no exception."""
        # Here: the supervisor has no other use for the DNS library, and most relays name no list.
        from relay_agent.delivery.resolve import Resolver

        reputation = self._config.reputation
        resolver = Resolver(self._config.delivery.resolvers, self._config.hostname)
        try:
            addresses = tuple(reputation.addresses) or tuple(await self._own(resolver, self._config.hostname))
            self._addresses = tuple(map(str, addresses))
            self._say_once(
                "" if addresses else "this host has no public address of its own: set reputation.addresses", "addresses"
            )
            limit = asyncio.Semaphore(_AT_ONCE)

            async def ask(zone: str, address: Address) -> Finding:
                async with limit:
                    return await self._ask(resolver, zone, address)

            found = await asyncio.gather(*(ask(zone, each) for zone in reputation.lists for each in addresses))
        finally:
            await resolver.close()
        before, self._findings = self._findings, {}
        for each in found:
            self._findings[each.list, each.address] = self._compared(before.get((each.list, each.address)), each)

    async def _ask(self, resolver: Resolver, zone: str, address: Address) -> Finding:
        now, name = time.time(), shown_list(zone)
        nothing = Finding(name, str(address), None, now)
        try:
            listed, problem = judge(await resolver.listed(question(address, zone)))
            if listed and judge(await resolver.listed(question(NEVER_LISTED[address.version], zone)))[0]:
                listed, problem = False, "lists every address, even 127.0.0.1: it is gone"
        except UnresolvedError as error:
            measured.BLOCKLIST_LOOKUPS["failed"] += 1
            return replace(nothing, problem=error.outcome.text.replace(zone, name))
        if problem:
            measured.BLOCKLIST_LOOKUPS["refused"] += 1
            return replace(nothing, problem=problem)
        measured.BLOCKLIST_LOOKUPS["listed" if listed else "clean"] += 1
        if not listed:
            return replace(nothing, listed=False)
        try:
            reason = " ".join(await resolver.texts(question(address, zone)))
        except UnresolvedError:
            reason = ""
        return replace(nothing, listed=True, since=now, reason=printable(reason, _LONGEST_REASON))

    def _compared(self, before: Finding | None, now: Finding) -> Finding:
        """The finding, with the time since when it is so; what has changed is logged."""
        was_listed = before is not None and before.since is not None
        if now.listed is None:
            self._say_once(now.problem, now.list)
            # What was listed is taken for listed until the list says otherwise.
            return replace(now, since=before.since, reason=before.reason) if before is not None else now
        self._say_once("", now.list)
        if now.listed and before is not None and was_listed:
            return replace(now, since=before.since)
        if now.listed:
            self._log.event(
                "blocklist_listed", level="warning", list=now.list, address=now.address, reason=now.reason or None
            )
        elif was_listed:
            self._log.event("blocklist_cleared", list=now.list, address=now.address)
        return now

    def _say_once(self, problem: str, about: str) -> None:
        """Log a trouble when it begins; "" when there is none (any more)."""
        if not problem:
            self._problems.discard(about)
        elif about not in self._problems:
            self._problems.add(about)
            self._log.event("blocklist_unusable", level="warning", list=about, problem=problem)
