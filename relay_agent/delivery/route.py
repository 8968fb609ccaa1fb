# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way a recipient's mail takes: the MX hosts of its domain, or upstream relays by configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from relay_agent.config.schema import Hop, Route
from relay_agent.delivery.domain import ascii_domain

__all__ = ["Security", "Target", "matching_route", "targets_via"]


class Security(StrEnum):
    """What TLS a target is spoken to with."""

    OPPORTUNISTIC = "opportunistic"  # used where offered, unverified; in the clear otherwise (RFC 3207, 7435)
    STARTTLS = "starttls"  # mandatory, certificate verified
    IMPLICIT = "implicit"  # from the first byte, certificate verified
    NONE = "none"


@dataclass(slots=True, frozen=True)
class Target:
    """A host to hand mail to, and how. Connections to equal targets are interchangeable.

    address: given for an address literal; otherwise the host's addresses come from DNS. upstream: named by
    the operator, so its name may also stand in /etc/hosts.
    """

    host: str
    port: int
    security: Security
    upstream: bool = False
    address: str | None = None
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None

    @property
    def label(self) -> str:
        """Host, and port where it is not 25, for people."""
        return self.host if self.port == 25 else f"{self.host}:{self.port}"


def matching_route(routes: Sequence[Route], domain: str) -> Route | None:
    """The first route that a recipient domain matches: exactly, below ``*.example.org``, or ``*``.

    Names are compared as A-labels, without regard to case.
    """
    name = _comparable(domain)
    for route in routes:
        for pattern in route.domains:
            if pattern == "*":
                return route
            if pattern.startswith("*."):
                if name.endswith("." + _comparable(pattern[2:])):
                    return route
            elif name == _comparable(pattern):
                return route
    return None


def _comparable(domain: str) -> str:
    try:
        return ascii_domain(domain)
    except ValueError:  # an address literal, or nothing that DNS could know
        return domain.lower()


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
