# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way a recipient's mail takes: the MX hosts of its domain, or upstream relays by configuration."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from relay_agent.config.schema import Config, Hop, Route
from relay_agent.delivery.patterns import in_domains
from relay_agent.delivery.resolve import MailHost, Resolver
from relay_agent.delivery.tls.outward import DomainRule, OutwardTls
from relay_agent.delivery.tls.policy import Wanted

__all__ = ["Router", "Security", "Target", "Way", "matching_route", "targets_via"]

_LONGEST_KEPT = 60.0  # seconds that a domain's MX hosts are remembered, whatever the records allow
_SHORTEST_KEPT = 5.0
_MOST_KEPT = 10_000


class Security(StrEnum):
    """What TLS a target is spoken to with."""

    OPPORTUNISTIC = "opportunistic"  # an MX host: as its `Target.tls` says
    STARTTLS = "starttls"  # mandatory, certificate verified
    IMPLICIT = "implicit"  # from the first byte, certificate verified
    NONE = "none"


@dataclass(slots=True, frozen=True)
class Target:
    """A host to hand mail to, and how. Connections to equal targets are interchangeable.

    address: given for an address literal; otherwise the host's addresses come from DNS. upstream: named by
    the operator, so its name may also stand in /etc/hosts. tls: what is wanted of an MX host.
    """

    host: str
    port: int
    security: Security
    upstream: bool = False
    address: str | None = None
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    tls: Wanted = field(default_factory=Wanted)

    @property
    def label(self) -> str:
        """Host, and port where it is not 25, for people."""
        return self.host if self.port == 25 else f"{self.host}:{self.port}"


@dataclass(slots=True, frozen=True)
class Way:
    """The hosts that mail can be handed to, each with its preference (lowest first).

    Domains with the same MX hosts, of which the same TLS is wanted, have equal ways, and so share connections and
    limits.
    """

    choices: tuple[tuple[int, Target], ...]

    @property
    def name(self) -> str:
        """The preferred host, for people."""
        return self.choices[0][1].label

    def relaxed(self) -> Way:
        """The same hosts, whatever their TLS is like: for the reports of that (RFC 8460 3), and nothing else."""
        choices = ((preference, replace(target, tls=Wanted())) for preference, target in self.choices)
        return Way(tuple(choices))

    def in_order(self) -> list[Target]:
        """The targets as they are to be tried; those of equal preference in random order (RFC 5321 5.1)."""
        ranked = [(preference, random.random(), target) for preference, target in self.choices]  # noqa: S311
        return [target for _, _, target in sorted(ranked, key=lambda each: each[:2])]


def matching_route(routes: Sequence[Route], domain: str) -> Route | None:
    """The first route that a recipient domain matches: exactly, below ``*.example.org``, or ``*``."""
    return next((route for route in routes if in_domains(route.domains, domain)), None)


def targets_via(hops: Sequence[Hop]) -> tuple[Target, ...]:
    """The upstream relays of a route, in their order."""
    return tuple(
        Target(
            host=hop.host,
            port=hop.port,
            security=Security(hop.tls),
            upstream=True,
            username=hop.username,
            password_file=hop.password_file,
            ca_file=hop.ca_file,
        )
        for hop in hops
    )


class Router:
    """Finds the way for a domain by the configuration's routes, else by its MX records, kept for a while."""

    def __init__(self, config: Config, resolver: Resolver, tls: OutwardTls) -> None:
        self.resolver = resolver
        self._tls = tls
        self._ca_file = config.delivery.ca_file
        self._routes = config.route
        self._ways = {id(route): Way(tuple(enumerate(targets_via(route.via)))) for route in config.route}
        self._port = config.delivery.smtp_port
        self._kept: dict[str, tuple[float, Way]] = {}

    def known(self, domain: str) -> Way | None:
        """The way if it can be told without asking DNS."""
        route = matching_route(self._routes, domain)
        if route is not None:
            return self._ways[id(route)]
        kept = self._kept.get(domain)
        if kept is None or kept[0] < time.monotonic():
            return None
        return kept[1]

    async def find(self, domain: str) -> Way:
        """The way for mail to `domain`. Raises UnresolvedError."""
        way = self.known(domain)
        if way is not None:
            return way
        exchangers, rule = await self._tls.look_up(domain, self.resolver.exchangers(domain))
        hosts = sorted(exchangers.hosts, key=lambda host: (host.preference, host.name))
        way = Way(tuple((host.preference, self._exchanger(host, rule)) for host in hosts))
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        lifetime = min(max(exchangers.ttl, _SHORTEST_KEPT), _LONGEST_KEPT)
        self._kept[domain] = time.monotonic() + lifetime, way
        return way

    def _exchanger(self, host: MailHost, rule: DomainRule) -> Target:
        return Target(
            host.name,
            self._port,
            Security.OPPORTUNISTIC,
            address=host.address,
            ca_file=self._ca_file,
            tls=rule.wanted(host.name),
        )

    def forget(self) -> None:
        """Ask DNS anew for every domain."""
        self._kept.clear()
        self._tls.forget()
