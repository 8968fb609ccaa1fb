# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way a recipient's mail takes: the MX hosts of its domain, or upstream relays by configuration."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from relay_agent.config.schema import Config, Hop, Route
from relay_agent.delivery.resolve import MailHost, Resolver
from relay_agent.delivery.routing.match import matching_route
from relay_agent.delivery.routing.port25 import Port25
from relay_agent.delivery.routing.reach import Origin
from relay_agent.delivery.sign_in.credentials import Credentials, credentials_of
from relay_agent.delivery.tls.outward import DomainRule, OutwardTls
from relay_agent.delivery.tls.policy import Wanted
from relay_agent.queue.model import Envelope

__all__ = ["Plan", "Router", "Security", "Target", "Way", "way_via"]

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
    the operator, so its name may also stand in /etc/hosts. tls: what is wanted of an MX host. weight: its share of
    new connections among those of the same preference.
    """

    host: str
    port: int
    security: Security
    upstream: bool = False
    address: str | None = None
    credentials: Credentials | None = None
    ca_file: Path | None = None
    tls: Wanted = field(default_factory=Wanted)
    weight: int = 1
    origin: Origin = field(default_factory=Origin)

    @property
    def username(self) -> str | None:
        """Who is signed in, for people."""
        return self.credentials.username if self.credentials is not None else None

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

    def in_order(self) -> list[tuple[int, Target]]:
        """Preferences and targets as they are to be tried; those of equal preference by chance (RFC 5321 5.1), each as
        often the first as its weight says."""
        # Efraimidis, Spirakis: Weighted random sampling with a reservoir (2006).
        ranked = [
            (preference, -math.log(1.0 - random.random()) / target.weight, target)  # noqa: S311 - not a secret
            for preference, target in self.choices
        ]
        return [(preference, target) for preference, _, target in sorted(ranked, key=lambda each: each[:2])]


class Plan(NamedTuple):
    """How mail for a domain is to go: through a pool, or to its MX hosts, showing ourselves as `origin`."""

    domain: str
    pool: Way | None
    origin: Origin


def way_via(hops: Sequence[Hop], origin: Origin | None = None) -> Way:
    """The way through a pool of upstream relays: by their priorities, or in their order."""
    return Way(
        tuple(
            (hop.priority if hop.priority is not None else place, _upstream(hop, origin or Origin()))
            for place, hop in enumerate(hops)
        )
    )


def _upstream(hop: Hop, origin: Origin) -> Target:
    return Target(
        host=hop.host,
        port=hop.port,
        security=Security(hop.tls),
        upstream=True,
        credentials=credentials_of(hop),
        ca_file=hop.ca_file,
        weight=hop.weight,
        origin=origin,
    )


def _origin(route: Route) -> Origin:
    four, six = route.source_address, route.source_address6
    return Origin(str(four) if four else None, str(six) if six else None, route.helo)


class Router:
    """Finds the way of mail by the configuration's routes, else by MX records, which are kept for a while.

    While port 25 is closed, what would go to MX hosts goes through a pool, if there is one.
    """

    def __init__(self, config: Config, resolver: Resolver, tls: OutwardTls, port25: Port25) -> None:
        self.resolver = resolver
        self.port25 = port25
        self._tls = tls
        self._ca_file = config.delivery.ca_file
        self._routes = config.route
        self._origins = {id(route): _origin(route) for route in config.route}
        self._ways = {
            id(route): way_via(route.via, self._origins[id(route)]) if route.via else None for route in config.route
        }
        pools = [way for way in self._ways.values() if way is not None]
        if config.delivery.fallback_via:
            pools.insert(0, way_via(config.delivery.fallback_via))
        self._pools = pools
        self._instead = self._pool_instead(config)
        self._port = config.delivery.smtp_port
        self._kept: dict[tuple[str, Origin], tuple[float, Way]] = {}

    def _pool_instead(self, config: Config) -> Way | None:
        """Where mail for MX hosts goes while port 25 is closed.

        Never to a site that calls in, which takes its own mail only, nor with the credentials of some senders or
        accounts alone.
        """
        if config.delivery.fallback_via:
            return self._pools[0]
        open_to_all = (each for each in config.route if not (each.etrn or each.senders or each.accounts))
        return next((way for each in open_to_all if (way := self._ways[id(each)]) is not None), None)

    @property
    def instead(self) -> str | None:
        """The pool that carries mail for MX hosts while port 25 is closed, for people."""
        return ", ".join(target.label for _, target in self._instead.choices) if self._instead is not None else None

    @property
    def upstreams(self) -> list[Target]:
        """All upstream relays of the configuration."""
        return list(dict.fromkeys(target for pool in self._pools for _, target in pool.choices))

    def plan(self, domain: str, envelope: Envelope | None) -> Plan:
        """How mail of this envelope for this domain is to go, by the routes; without one, most people's mail."""
        route = matching_route(self._routes, domain, envelope) if self._routes else None
        if route is None:
            return Plan(domain, None, _NO_ORIGIN)
        return Plan(domain, self._ways[id(route)], self._origins[id(route)])

    def known(self, plan: Plan) -> Way | None:
        """The way if it can be told without waiting."""
        if plan.pool is not None:
            return plan.pool
        if self._instead is not None:
            if self.port25.closed:
                return self._instead
            if not self.port25.known:
                return None
        kept = self._kept.get((plan.domain, plan.origin))
        if kept is None or kept[0] < time.monotonic():
            return None
        return kept[1]

    async def find(self, plan: Plan) -> Way:
        """The way for a plan. Raises UnresolvedError."""
        if self._instead is not None:
            await self.port25.ready()
        way = self.known(plan)
        if way is not None:
            return way
        domain = plan.domain
        exchangers, rule = await self._tls.look_up(domain, self.resolver.exchangers(domain))
        hosts = sorted(exchangers.hosts, key=lambda host: (host.preference, host.name))
        way = Way(tuple((host.preference, self._exchanger(host, rule, plan.origin)) for host in hosts))
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        lifetime = min(max(exchangers.ttl, _SHORTEST_KEPT), _LONGEST_KEPT)
        self._kept[domain, plan.origin] = time.monotonic() + lifetime, way
        return way

    def _exchanger(self, host: MailHost, rule: DomainRule, origin: Origin) -> Target:
        return Target(
            host.name,
            self._port,
            Security.OPPORTUNISTIC,
            address=host.address,
            ca_file=self._ca_file,
            tls=rule.wanted(host.name),
            origin=origin,
        )

    def forget(self) -> None:
        """Ask DNS anew for every domain."""
        self._kept.clear()
        self._tls.forget()


_NO_ORIGIN = Origin()
