# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding and keeping domains' MTA-STS policies (RFC 8461 3.3, 5.1): DNS announces, HTTPS has the policy.

A policy that is kept holds until it ends, whatever DNS and the web host say, or fail to say, in between: that is what
makes it worth something against somebody in the middle.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from relay_agent.delivery.reply import printable
from relay_agent.delivery.resolve import Resolver, UnresolvedError
from relay_agent.delivery.tls.https import FetchError, HttpsClient
from relay_agent.delivery.tls.mta_sts import Policy, PolicyError, announced_id, parse_policy
from relay_agent.delivery.tls.policy import ResultType
from relay_agent.delivery.tls.sts_cache import CachedPolicy, StsCache
from relay_agent.observability.log import EventLog

__all__ = ["PolicyKeeper", "StsTrouble"]

_PATH = "/.well-known/mta-sts.txt"
_MOST = 65_536  # bytes of a policy (RFC 8461 3.3)
_FRESH_FOR = 86_400.0  # seconds; then a policy is fetched again though its id is the same
_AGAIN = 300.0  # seconds after a fetch that failed (RFC 8461 3.3)
_ANSWER = 6.0  # seconds that mail waits for DNS to say whether there is a policy
_WAIT = 15.0  # seconds that mail waits for the first policy of a domain
_ROUND = 3600.0  # seconds between two looks at all policies
_MOST_KEPT = 10_000


@dataclass(slots=True, frozen=True)
class StsTrouble:
    """Why a domain that announces a policy has none that could be had: for the report."""

    result: ResultType
    text: str


class PolicyKeeper:
    """The policies of recipients' domains. clock: seconds since the epoch."""

    def __init__(
        self,
        resolver: Resolver,
        client: HttpsClient,
        cache: StsCache,
        log: EventLog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._resolver = resolver
        self._client = client
        self._cache = cache
        self._log = log
        self._clock = clock
        self._kept: dict[str, CachedPolicy] = {}
        self._failed: dict[str, tuple[float, StsTrouble]] = {}
        self._fetching: dict[str, asyncio.Task[None]] = {}

    async def find(self, domain: str) -> Policy | None:
        """The policy that holds for a domain (A-labels) now; None when it has none.

        Waits for a policy that is announced for the first time; a newer one is fetched while the older holds.
        Never raises for what a domain does.
        """
        cached = await self._current(domain)
        announced = await self._announced(domain)
        if announced is None:
            self._failed.pop(domain, None)
        if self._is_stale(cached, announced):
            self._kept.pop(domain, None)  # another worker may have fetched it
            cached = await self._current(domain)
        if self._is_stale(cached, announced):
            task = self._fetch_soon(domain, announced or (cached.id if cached else ""))
            if cached is None and task is not None:
                await asyncio.wait((task,), timeout=_WAIT)
                cached = await self._current(domain)
        return cached.policy if cached is not None else None

    def _is_stale(self, cached: CachedPolicy | None, announced: str | None) -> bool:
        """Whether a policy is to be fetched."""
        if cached is None:
            return announced is not None
        return announced not in (None, cached.id) or self._clock() - cached.fetched > _FRESH_FOR

    def trouble(self, domain: str) -> StsTrouble | None:
        """Why the last fetch failed, when it did."""
        failed = self._failed.get(domain)
        return failed[1] if failed is not None else None

    async def _current(self, domain: str) -> CachedPolicy | None:
        cached = self._kept.get(domain)
        if cached is not None and cached.expires > self._clock():
            return cached
        cached = await asyncio.to_thread(self._cache.read, domain)
        if cached is None or cached.expires <= self._clock():
            self._kept.pop(domain, None)
            return None
        self._keep(domain, cached)
        return cached

    def _keep(self, domain: str, cached: CachedPolicy) -> None:
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()  # all of it is on the disk
        self._kept[domain] = cached

    async def _announced(self, domain: str) -> str | None:
        try:
            async with asyncio.timeout(_ANSWER):
                return announced_id(await self._resolver.texts(f"_mta-sts.{domain}"))
        except (UnresolvedError, TimeoutError):
            return None  # no news: what is kept holds

    def _fetch_soon(self, domain: str, announced: str) -> asyncio.Task[None] | None:
        failed = self._failed.get(domain)
        if failed is not None and self._clock() - failed[0] < _AGAIN:
            return None
        task = self._fetching.get(domain)
        if task is None:
            task = self._fetching[domain] = asyncio.get_running_loop().create_task(self._fetch(domain, announced))
            task.add_done_callback(lambda _: self._fetching.pop(domain, None))
        return task

    async def _fetch(self, domain: str, announced: str) -> None:
        try:
            policy = await self._fetched(domain)
        except (FetchError, PolicyError, UnresolvedError) as error:
            result = ResultType.STS_INVALID if isinstance(error, PolicyError) else ResultType.STS_FETCH
            if isinstance(error, FetchError) and error.certificate:
                result = ResultType.STS_WEBPKI
            if len(self._failed) >= _MOST_KEPT:
                self._failed.clear()
            text = printable(str(error), 300)
            self._failed[domain] = self._clock(), StsTrouble(result, text)
            self._log.event("mta_sts_trouble", level="warning", domain=domain, reason=text)
            return
        self._failed.pop(domain, None)
        cached = CachedPolicy(announced, policy, self._clock())
        self._keep(domain, cached)
        self._log.event("mta_sts_policy", domain=domain, mode=policy.mode, mx=list(policy.mx), max_age=policy.max_age)
        try:
            await asyncio.to_thread(self._cache.write, domain, cached)
        except OSError as error:
            # It holds in this process at least.
            self._log.event("mta_sts_not_kept", level="error", domain=domain, error=str(error))

    async def _fetched(self, domain: str) -> Policy:
        host = f"mta-sts.{domain}"
        addresses = await self._resolver.addresses(host)
        answer = await self._client.request(host, addresses, _PATH, most=_MOST)
        if answer.status != 200:
            raise FetchError(f"{host} answers with HTTP status {answer.status}")
        if answer.media != "text/plain":
            raise PolicyError(f"it comes as {printable(answer.media, 40) or 'no type'}, not as text/plain")
        return parse_policy(answer.content)

    async def keep_fresh(self) -> None:
        """Fetch each policy once a day, so that none ends because nobody wrote to its domain; without end."""
        while True:
            await asyncio.sleep(_ROUND * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                await self.refresh_all()
            except Exception as error:
                self._log.event("mta_sts_fault", level="error", error=f"{type(error).__name__}: {error}")

    async def refresh_all(self) -> None:
        """Fetch the policies that are older than a day, remove those that have ended."""
        for domain in await asyncio.to_thread(lambda: list(self._cache.domains())):
            cached = await asyncio.to_thread(self._cache.read, domain)
            if cached is None or cached.expires <= self._clock():
                await asyncio.to_thread(self._cache.remove, domain)
                self._kept.pop(domain, None)
            elif self._clock() - cached.fetched > _FRESH_FOR:
                announced = await self._announced(domain)
                task = self._fetch_soon(domain, announced or cached.id)
                if task is not None:
                    await asyncio.wait((task,))

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._client.close()
