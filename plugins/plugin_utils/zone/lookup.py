# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom to ask for a record: the name servers of its zone, found by a resolver, or one server that is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import dns.resolver
from ansible_collections.postroad.relay.plugins.plugin_utils import agent_package  # noqa: F401  finds relay_agent

from relay_agent.name_server import Answer, NameServer, NameServerError

__all__ = ["Lookup", "LookupFailed", "own_resolvers"]

Question = Callable[[NameServer, bool], Answer]
"""What is asked of a server, with whether it is a resolver."""


class LookupFailed(Exception):
    """Nobody could be asked; the text says why."""


def own_resolvers() -> list[str]:
    """The resolvers of this machine. Raises LookupFailed."""
    try:
        return [str(each) for each in dns.resolver.Resolver().nameservers]
    except dns.resolver.NoResolverConfiguration:
        raise LookupFailed("this machine has no resolver: name one in relay_check_dns_resolver") from None


@dataclass
class Lookup:
    """resolvers: asked one after the other until one answers. servers: asked in place of the zones' own name servers.

    authoritative: whether the zones' name servers are asked, or only the resolvers. connect: makes a server.
    """

    resolvers: Sequence[str]
    servers: Sequence[str] = ()
    authoritative: bool = True
    connect: Callable[[str], NameServer] = NameServer
    _zones: dict[str, str] = field(default_factory=dict)
    _servers: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    _silent: dict[str, str] = field(default_factory=dict)

    def ask(self, owner: str, kind: str, wanted: frozenset[str] = frozenset()) -> Iterator[tuple[str, Answer | str]]:
        """For each server its name, and what it has or in words why that cannot be known.

        wanted: as in NameServer.survey.
        """

        def survey(server: NameServer, recursive: bool) -> Answer:
            return server.survey(owner, kind, wanted, recursive=recursive)

        try:
            if not self.authoritative:
                yield self._of_resolvers(survey)
                return
            targets = [(each, each) for each in self.servers] or self._servers_of(self._zone_of(owner))
        except LookupFailed as error:
            yield "-", str(error)
            return
        for name, address in targets:
            try:
                yield name, self._once(address, survey, recursive=False)
            except NameServerError as error:
                yield name, str(error)

    def _once(self, address: str, question: Question, *, recursive: bool) -> Answer:
        """Who did not answer once is not waited for again. Raises NameServerError."""
        if address in self._silent:
            raise NameServerError(self._silent[address])
        try:
            return question(self.connect(address), recursive)
        except NameServerError as error:
            if error.silent:
                self._silent[address] = f"{address} did not answer before, and is not asked again"
            raise

    def _zone_of(self, owner: str) -> str:
        """The zone that a name is in: the nearest name above it that has a SOA record."""
        labels = owner.rstrip(".").split(".")
        for start in range(len(labels)):
            name = ".".join(labels[start:]) + "."
            if name in self._zones:
                return self._zones[name]
            if self._resolve(name, "SOA").values:
                self._zones[owner] = self._zones[name] = name
                return name
        raise LookupFailed(f"no zone is found for {owner}: nobody has registered the domain, or it is not delegated")

    def _servers_of(self, zone: str) -> list[tuple[str, str]]:
        """Name and address of each name server of a zone."""
        if zone not in self._servers:
            found = []
            for name in sorted(self._resolve(zone, "NS").values):
                addresses = self._resolve(name, "A").values or self._resolve(name, "AAAA").values
                if not addresses:
                    raise LookupFailed(f"the name server {name.rstrip('.')} of {zone} has no address")
                found.append((name.rstrip("."), min(addresses)))
            if not found:
                raise LookupFailed(f"the zone {zone} has no name servers")
            self._servers[zone] = found
        return self._servers[zone]

    def _resolve(self, owner: str, kind: str) -> Answer:
        return self._of_resolvers(lambda server, recursive: server.ask(owner, kind, recursive=recursive))[1]

    def _of_resolvers(self, question: Question) -> tuple[str, Answer]:
        """The first resolver that answers, and what it says. Raises LookupFailed."""
        problem = "no resolver is known"
        for each in self.resolvers:
            try:
                return each, self._once(each, question, recursive=True)
            except NameServerError as error:
                problem = str(error)
        raise LookupFailed(problem)
