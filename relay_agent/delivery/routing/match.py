# SPDX-License-Identifier: GPL-3.0-or-later
"""Which route of the configuration a recipient takes: by its domain, the envelope's sender and the account."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from relay_agent.config.schema import Route
from relay_agent.delivery.patterns import in_domains
from relay_agent.queue.model import Envelope

__all__ = ["NULL_SENDER", "is_account", "is_sender", "matching_route", "uses_mx"]

NULL_SENDER = "<>"


def matching_route(routes: Sequence[Route], domain: str, envelope: Envelope | None) -> Route | None:
    """The first route all of whose conditions hold; one that is not given holds always. Without an envelope: of the
    routes that are for everybody's mail."""
    for route in routes:
        if envelope is None:
            if route.senders is None and route.accounts is None and in_domains(route.domains, domain):
                return route
            continue
        if route.senders is not None and not is_sender(route.senders, envelope.reverse_path):
            continue
        if route.accounts is not None and not is_account(route.accounts, envelope.account):
            continue
        if in_domains(route.domains, domain):
            return route
    return None


def uses_mx(routes: Sequence[Route]) -> bool:
    """Whether mail can go to MX hosts at all, or a route through a pool takes all of it before."""
    for route in routes:
        if route.mx:
            return True
        if route.senders is None and route.accounts is None and "*" in route.domains:
            return False
    return True


def is_sender(patterns: Iterable[str], reverse_path: str) -> bool:
    """Whether a reverse path ("" for the null one) is of these: patterns of domains, whole addresses, ``<>``.

    The local part of an address counts with its case (RFC 5321 2.4). ``*`` is every sender but the null one.
    """
    local, _, domain = reverse_path.rpartition("@")
    for pattern in patterns:
        if pattern == NULL_SENDER or not reverse_path:
            if pattern == NULL_SENDER and not reverse_path:
                return True
            continue
        wanted, at, where = pattern.rpartition("@")
        if (not at or wanted == local) and in_domains((where,), domain):
            return True
    return False


def is_account(patterns: Iterable[str], account: str | None) -> bool:
    """Whether an account's name is of these; ``*`` in a pattern stands for any letters. Nobody's mail (of a trusted
    network, or our own bounces) is of none."""
    if not account:
        return False
    return any(_expression(pattern).fullmatch(account) for pattern in patterns)


@lru_cache(1024)
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, re.split(r"\*+", pattern))), re.DOTALL | re.IGNORECASE)
