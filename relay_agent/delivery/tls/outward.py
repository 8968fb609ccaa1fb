# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS outwards, put together: what each domain and host asks for, and what came of it, for one delivery side."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from relay_agent.config.schema import Config, parse_resolver
from relay_agent.delivery.client import Connection
from relay_agent.delivery.domain import ascii_domain
from relay_agent.delivery.patterns import in_domains
from relay_agent.delivery.reply import printable
from relay_agent.delivery.resolve import Exchangers, Resolver
from relay_agent.delivery.tls.https import HttpsClient, is_public
from relay_agent.delivery.tls.mta_sts import Policy, names_host
from relay_agent.delivery.tls.policy import (
    NOTHING_KNOWN,
    Demand,
    Kind,
    Level,
    Mode,
    ResultType,
    TlsError,
    Wanted,
    demand,
    unlisted,
)
from relay_agent.delivery.tls.report import Reporter
from relay_agent.delivery.tls.report_send import ReportSender
from relay_agent.delivery.tls.resolvers import NotSecureError, on_this_host, system_resolvers
from relay_agent.delivery.tls.sts import PolicyKeeper, StsTrouble
from relay_agent.delivery.tls.sts_cache import StsCache
from relay_agent.delivery.tls.tally import Applied, DayFiles, Failure, Tally
from relay_agent.observability.log import EventLog
from relay_agent.queue.model import Message

if TYPE_CHECKING:
    from relay_agent.delivery.tls.secure_dns import SecureDns

__all__ = ["DomainRule", "OutwardTls", "recipients_domains"]

_MOST_RULES = 20_000


@dataclass(slots=True, frozen=True)
class DomainRule:
    """What holds for the hosts of one domain. trouble: why its MTA-STS policy could not be had."""

    level: Level = Level.OPPORTUNISTIC
    secure_mx: bool = False
    policy: Policy | None = None
    trouble: StsTrouble | None = None

    def wanted(self, host: str) -> Wanted:
        """What is wanted of one of the domain's hosts."""
        if self.policy is None or self.policy.mode is Mode.NONE:
            return Wanted(self.level, self.secure_mx)
        return Wanted(self.level, self.secure_mx, self.policy.mode, names_host(self.policy, host))


class OutwardTls:
    """The TLS policy of one dispatcher. submit: stores a message in the queue and has it carried on."""

    def __init__(
        self, config: Config, resolver: Resolver, log: EventLog, submit: Callable[[Message], Awaitable[None]]
    ) -> None:
        self._config = config
        self._resolver = resolver
        self._log = log
        self._submit = submit
        self._rules: dict[str, DomainRule] = {}
        self._secure = _secure_dns(config)
        self._sts: PolicyKeeper | None = None
        self._reports: ReportSender | None = None
        self._tally = Tally()
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self) -> None:
        """Begin what goes on beside the mail."""
        config, loop = self._config, asyncio.get_running_loop()
        ca_file = config.delivery.ca_file
        if config.delivery.mta_sts:
            client = HttpsClient(ca_file, config.delivery.mta_sts_port)
            cache = StsCache(config.queue.directory / "mta-sts")
            self._sts = PolicyKeeper(self._resolver, client, cache, self._log)
            self._tasks.append(loop.create_task(self._sts.keep_fresh()))
        if config.tls_reports is not None:
            reports = config.tls_reports
            self._reports = ReportSender(
                Reporter(reports.organization or config.hostname, reports.contact, config.hostname),
                self._tally,
                DayFiles(config.queue.directory / "tls-reports"),
                self._resolver,
                HttpsClient(ca_file, allowed=is_public),
                self._submit,
                self._log,
            )
            self._tasks.append(loop.create_task(self._reports.run()))

    async def close(self) -> None:
        """End, with what was counted on the disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._reports is not None:
            await self._reports.flush()
            self._reports.close()
        if self._sts is not None:
            await self._sts.close()

    def forget(self) -> None:
        """Ask DNS anew for every host."""
        if self._secure is not None:
            self._secure.forget()

    # With the way.

    async def look_up(self, domain: str, exchangers: Awaitable[Exchangers]) -> tuple[Exchangers, DomainRule]:
        """The mail hosts of a domain and what holds for them, asked for at the same time. Raises UnresolvedError.

        `exchangers` is waited for in any case.
        """
        level = self._level(domain)
        try:
            name = "" if domain.startswith("[") else ascii_domain(domain)
        except ValueError:
            name = ""
        if not name:
            return await exchangers, DomainRule(level)
        policy = asyncio.ensure_future(self._policy(name))
        try:
            found, secure = await asyncio.gather(exchangers, self._secure_mx(name), return_exceptions=True)
            if isinstance(secure, NotSecureError) and secure.bogus:
                raise secure  # a better reason than the SERVFAIL that the other look-up had
            for each in (found, secure):
                if isinstance(each, BaseException):
                    raise each
            assert isinstance(found, Exchangers)
            rule = DomainRule(level, bool(secure), *await policy)
        finally:
            if not policy.done():
                policy.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await policy
        if len(self._rules) >= _MOST_RULES:
            self._rules.clear()
        self._rules[name] = rule
        return found, rule

    def _level(self, domain: str) -> Level:
        for each in self._config.tls_policy:
            if in_domains(each.domains, domain):
                return Level(each.tls)
        return Level(self._config.delivery.tls)

    async def _secure_mx(self, name: str) -> bool:
        return self._secure is not None and await self._secure.is_secure(name, "MX")

    async def _policy(self, name: str) -> tuple[Policy | None, StsTrouble | None]:
        if self._sts is None:
            return None, None
        policy = await self._sts.find(name)
        return policy, self._sts.trouble(name) if policy is None else None

    # With the host.

    async def demand(self, host: str, port: int, wanted: Wanted, domains: Iterable[str]) -> Demand:
        """What a host has to show now. Raises NotSecureError when its TLSA records cannot be believed, and HostTrouble
        when the domain's MTA-STS policy does not name it."""
        answer = NOTHING_KNOWN
        if self._secure is not None and wanted.secure_mx:
            try:
                answer = await self._secure.tlsa(host, port)
            except NotSecureError as error:
                self._count(domains, Demand(Kind.DANE), ResultType.DNSSEC_INVALID, str(error), host)
                raise
        found = demand(wanted, answer)
        if answer.records and found.kind is not Kind.DANE:
            useless = replace(found, kind=Kind.DANE)
            self._count(domains, useless, ResultType.TLSA_INVALID, "none of the records can be used", host)
        if not found.sts or wanted.listed:
            return found
        foreign = unlisted(host)
        self.note(host, found, domains, foreign)
        if wanted.sts is Mode.ENFORCE:
            raise foreign.trouble(found, host)
        return replace(found, trial=False, reported=True)

    def note(
        self,
        host: str,
        demand: Demand,
        domains: Iterable[str],
        error: TlsError | None,
        connection: Connection | None = None,
    ) -> None:
        """Count a session for the reports, good or not."""
        result = error.result if error is not None else None
        self._count(domains, demand, result, str(error or ""), host, connection)

    def _count(
        self,
        domains: Iterable[str],
        demand: Demand,
        result: ResultType | None,
        text: str,
        host: str,
        connection: Connection | None = None,
    ) -> None:
        if self._reports is None:
            return
        failure = None
        if result is not None:
            own, address = (connection.own_address, connection.peer_address) if connection is not None else ("", "")
            failure = Failure(result, printable(text, 200), host, own, address)
        now = time.time()
        for domain in domains:
            rule = self._rules.get(domain)
            if rule is None:
                continue
            self._tally.note(_applied(domain, rule, demand), failure, now)
            if rule.trouble is not None and failure is None:
                unfetched = Failure(rule.trouble.result, printable(rule.trouble.text, 200))
                self._tally.note(Applied(domain, "sts"), unfetched, now)


def _applied(domain: str, rule: DomainRule, demand: Demand) -> Applied:
    if demand.kind is Kind.DANE:
        records = demand.tlsa.records
        lines = (f"{each.usage} {each.selector} {each.matching} {each.data.hex()}" for each in records)
        return Applied(domain, "tlsa", tuple(lines))
    if demand.sts and rule.policy is not None:
        return Applied(domain, "sts", rule.policy.lines, rule.policy.mx)
    return Applied(domain, "no-policy-found")


def _secure_dns(config: Config) -> SecureDns | None:
    delivery = config.delivery
    servers = [parse_resolver(each) for each in delivery.resolvers] or system_resolvers()
    if delivery.dnssec == "off" or not servers or (delivery.dnssec == "auto" and not on_this_host(servers)):
        return None
    from relay_agent.delivery.tls.secure_dns import SecureDns  # takes memory: not without DANE

    return SecureDns(servers)


def recipients_domains(domains: Iterable[str]) -> tuple[str, ...]:
    """Domains of recipients as A-labels; those that are none are left out."""
    found = []
    for domain in domains:
        with contextlib.suppress(ValueError):
            found.append(ascii_domain(domain))
    return tuple(found)
