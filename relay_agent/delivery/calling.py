# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail that waits for its site to call in: whose it is, how long it is kept, and what a call lets go.

A route with ``etrn = true`` keeps the mail of its domains. Its recipients wait in the queue like others, marked
with the domain (`AWAITS`), and come due only when they are given up. A call makes them due; what it lets go is
remembered in memory, so after a restart in the middle of a run the rest waits for the next call.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from relay_agent.accounts.store import normalise_name
from relay_agent.config.schema import Config, Route
from relay_agent.delivery.domain import ascii_domain
from relay_agent.delivery.outcome import Deferred
from relay_agent.delivery.patterns import in_domains
from relay_agent.delivery.routing.match import matching_route
from relay_agent.queue.model import AWAITS, Envelope, Message, Recipient

__all__ = ["Call", "OpenCalls", "SitesBusyError", "not_waiting", "owned_routes", "site_route", "waiting", "waits"]

_ONLINE = 300.0  # seconds after ETRN in which mail that comes in goes on at once: the site is there
_MOST_CALLS = 1000  # remembered
_WAITS = "4.3.2"  # RFC 3463: "System not accepting network messages"


class SitesBusyError(Exception):
    """Whoever has the mail did not answer, or could not do what a site called for; the text says why."""


def site_route(routes: Sequence[Route], domain: str, envelope: Envelope | None = None) -> Route | None:
    """The route of a domain whose mail waits for its site to call in; None for all others.

    envelope: of a message that some other route may take by its sender or account.
    """
    if not any(route.etrn for route in routes):
        return None
    route = matching_route(routes, domain, envelope)
    return route if route is not None and route.etrn else None


def owned_routes(config: Config, account: str) -> list[Route]:
    """The routes whose mail this account may call for."""
    return [route for route in config.route if route.etrn and account in map(normalise_name, route.owners)]


@dataclass(frozen=True, slots=True)
class Call:
    """What a site has called for. account: who signed in, normalised. domains: A-labels; none: all of the account's.
    below: the domains below these, too (``ETRN @example.org``)."""

    account: str
    domains: tuple[str, ...] = ()
    below: bool = False

    def covers(self, config: Config, domain: str) -> bool:
        """Whether the mail of a recipient domain is meant, and is the account's."""
        route = site_route(config.route, domain)
        if route is None or self.account not in map(normalise_name, route.owners):
            return False
        if not self.domains:
            return True
        try:
            name = ascii_domain(domain)
        except (ValueError, IndexError):
            return False
        return any(name == each or (self.below and name.endswith(f".{each}")) for each in self.domains)

    def routes(self, config: Config) -> list[Route]:
        """The account's routes that are meant, for at least a part; empty: the call is not allowed.

        Each domain named has to be the account's, or there are none.
        """
        owned = owned_routes(config, self.account)
        if not self.domains:
            return owned
        found: list[Route] = []
        for domain in self.domains:
            meant = [route for route in owned if self._meets(config, route, domain)]
            if not meant:
                return []
            found += [route for route in meant if route not in found]
        return found

    def _meets(self, config: Config, route: Route, domain: str) -> bool:
        """Whether the route has this domain, or with `below` any at or below it."""
        if matching_route(config.route, domain, None) is route:
            return True
        if not self.below:
            return False
        return in_domains(route.domains, f"any.{domain}") or any(
            in_domains([domain, f"*.{domain}"], pattern.removeprefix("*.")) for pattern in route.domains
        )

    def export(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"account": self.account, "domains": list(self.domains), "below": self.below}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Call:
        """From `export`."""
        return cls(str(state["account"]), tuple(map(str, state["domains"])), bool(state["below"]))


class OpenCalls:
    """The calls by ETRN that still let mail go. Times are seconds since the epoch."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._calls: dict[Call, float] = {}
        self.any_sites = any(route.etrn for route in config.route)

    def open(self, call: Call) -> None:
        """A site has called."""
        self._calls.pop(call, None)
        self._calls[call] = time.time()
        while len(self._calls) > _MOST_CALLS:
            del self._calls[next(iter(self._calls))]

    def held(self, message: Message, recipients: Iterable[tuple[int, Recipient]]) -> dict[int, Deferred]:
        """Those of the recipients, by number, that have to wait for their site, with the outcome that says so."""
        if not self.any_sites:
            return {}
        outcomes = {}
        for number, recipient in recipients:
            route = site_route(self._config.route, recipient.domain, message.envelope)
            if route is not None and not (route.via and self._lets_go(message, recipient)):
                text = f"waits until the site of {recipient.domain} calls in"
                outcomes[number] = Deferred(_WAITS, text, untried=True)
        return outcomes

    def _lets_go(self, message: Message, recipient: Recipient) -> bool:
        """Everything goes while the site is surely there; what it found waiting has one attempt, however late."""
        now = time.time()
        for call, called in self._calls.items():
            first = message.created <= called and (recipient.last_attempt or 0.0) < called
            if (first or now < called + _ONLINE) and call.covers(self._config, recipient.domain):
                return True
        return False


def waits(recipient: Recipient) -> bool:
    """Whether the recipient waits for its site to call in."""
    return AWAITS in recipient.options


def waiting(recipient: Recipient, message: Message, route: Route, now: float) -> Recipient | None:
    """The recipient as it waits for its site to call in; None when it has waited long enough."""
    given_up = max(message.expires, message.created + route.hold_for)
    if now >= given_up:
        return None
    return replace(recipient, options={**recipient.options, AWAITS: recipient.domain}, next_attempt=given_up)


def not_waiting(recipient: Recipient) -> Recipient:
    """The recipient as any other, after its route was changed."""
    if AWAITS not in recipient.options:
        return recipient
    return replace(recipient, options={name: value for name, value in recipient.options.items() if name != AWAITS})
