# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that hold between values of the configuration, each of which is fine by itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

from relay_agent.accounts.store import normalise_name
from relay_agent.delivery.patterns import in_domains

from .explain import shown
from .schema import Config, Listener

__all__ = ["check_rules"]

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII | re.IGNORECASE)


def check_rules(config: Config, document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Key and problem of each rule that is broken; `document` is the file as it was written."""
    yield from _ports(config)
    yield from _metrics(config)
    yield from _listeners(config)
    yield from _trusted_networks(document)
    yield from _balancers(config)
    yield from _routes(config)
    yield from _domains("tls_policy", [each.domains for each in config.tls_policy])
    yield from _sites(config)
    yield from _upstreams(config)
    yield from _dkim(config)
    yield from _reports(config)
    if config.delivery.retry_first > config.delivery.retry_max:
        yield "delivery.retry_first", "is longer than delivery.retry_max (expected at most the same)"


def _ports(config: Config) -> Iterator[tuple[str, str]]:
    for index, listener in enumerate(config.listener):
        for earlier, other in enumerate(config.listener[:index]):
            if listener.port == other.port and _overlap(listener.address, other.address):
                where = f"listener[{earlier}]"
                same = "the same address" if listener.address == other.address else "an address that includes it"
                yield (
                    f"listener[{index}].port",
                    f"port {listener.port} is taken by {where} already, on {same} (expected each port once)",
                )
                break


def _metrics(config: Config) -> Iterator[tuple[str, str]]:
    if config.metrics is None:
        return
    address = str(config.metrics.address)
    for index, listener in enumerate(config.listener):
        if listener.port == config.metrics.port and _overlap(listener.address, address):
            yield "metrics.port", f"port {listener.port} is taken by listener[{index}] already (expected another one)"


def _overlap(one: str, other: str) -> bool:
    """Whether two sockets with these addresses cannot both be bound to one port."""
    if not one or not other:
        return True
    first, second = ip_address(one), ip_address(other)
    if first.version != second.version:
        return False
    return first == second or first.is_unspecified or second.is_unspecified


def _listeners(config: Config) -> Iterator[tuple[str, str]]:
    trusted = config.submission.trusted_networks
    for index, listener in enumerate(config.listener):
        if listener.tls != "none" and config.tls is None:
            yield (
                f"listener[{index}].tls",
                f'{shown(listener.tls)} needs a certificate (expected [tls] with "certificate" and "key")',
            )
        if listener.auth == "none" and not trusted:
            yield (
                f"listener[{index}].auth",
                '"none" would let everybody send (expected submission.trusted_networks to name who may)',
            )
        if listener.tls == "none" and listener.auth != "none" and not trusted and not _is_loopback(listener):
            yield (
                f"listener[{index}].tls",
                '"none" would carry passwords in the clear (expected "starttls" or "implicit", '
                "or a loopback address, or submission.trusted_networks with clients that need no password)",
            )


def _is_loopback(listener: Listener) -> bool:
    return bool(listener.address) and ip_address(listener.address).is_loopback


def _trusted_networks(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for index, network in enumerate(document.get("submission", {}).get("trusted_networks", ())):
        key = f"submission.trusted_networks[{index}]"
        if not isinstance(network, str):
            yield key, f"{shown(network)} is not a network (expected e.g. 192.0.2.0/24 in quotes)"
        elif network.endswith("/0"):
            yield (
                key,
                f"{shown(network)} is everybody: the relay would carry anyone's mail (expected your own networks)",
            )


def _balancers(config: Config) -> Iterator[tuple[str, str]]:
    for index, listener in enumerate(config.listener):
        for place, network in enumerate(listener.proxy_from):
            if network.prefixlen == 0:
                yield (
                    f"listener[{index}].proxy_from[{place}]",
                    f"{shown(str(network))} is everybody: anyone could claim any address (expected your balancers)",
                )


def _routes(config: Config) -> Iterator[tuple[str, str]]:
    """A route for some senders or accounts only leaves the others to those behind it."""
    partly = {
        index for index, route in enumerate(config.route) if route.senders is not None or route.accounts is not None
    }
    yield from _domains("route", [route.domains for route in config.route], partly)
    for index, route in enumerate(config.route):
        for place, pattern in enumerate(route.senders or ()):
            local, at, domain = pattern.rpartition("@")
            if pattern != "<>" and (not _is_pattern(domain) or (at and (not local or "*" in domain))):
                hint = '"example.org", "*.example.org", "alice@example.org", "*" or "<>"'
                yield f"route[{index}].senders[{place}]", f"{shown(pattern)} is not a sender (expected {hint})"
        for place, pattern in enumerate(route.accounts or ()):
            if not pattern.strip():
                yield f"route[{index}].accounts[{place}]", "is empty (expected an account's name, or *)"


def _upstreams(config: Config) -> Iterator[tuple[str, str]]:
    """One way to sign in for each server and user: how a relay behaves is kept by these."""
    for key, hops in (
        *((f"route[{index}].via", route.via) for index, route in enumerate(config.route)),
        ("delivery.fallback_via", config.delivery.fallback_via),
    ):
        taken: dict[tuple[str, int, str | None], int] = {}
        for place, hop in enumerate(hops):
            earlier = taken.setdefault((hop.host.lower(), hop.port, hop.username), place)
            if earlier != place:
                yield f"{key}[{place}].host", f"{shown(hop.host)} is {key}[{earlier}] already (expected each once)"


def _domains(section: str, entries: Sequence[Sequence[str]], partly: Collection[int] = ()) -> Iterator[tuple[str, str]]:
    """Of sections whose first match wins: patterns that are none, and those that are never reached. partly: numbers of
    entries that have other conditions, too, and so take nothing away from later ones."""
    taken: dict[str, int] = {}
    for index, patterns in enumerate(entries):
        for place, pattern in enumerate(patterns):
            key = f"{section}[{index}].domains[{place}]"
            if not _is_pattern(pattern):
                hint = 'its ASCII form, "xn--..."' if not pattern.isascii() else '"example.org", "*.example.org" or "*"'
                yield key, f"{shown(pattern)} is not a domain (expected {hint})"
                continue
            folded = pattern.lower().rstrip(".")
            earlier = taken.get(folded, index) if index in partly else taken.setdefault(folded, index)
            everything = taken.get("*", index)
            if earlier < index:
                has = f"{section}[{earlier}] has it already (the first match wins)"
                yield key, f"{shown(pattern)} is never reached: {has}"
            elif everything < index:
                takes = f'{section}[{everything}] takes "*" (expected that one last)'
                yield key, f"{shown(pattern)} is never reached: {takes}"


def _is_pattern(pattern: str) -> bool:
    if pattern == "*":
        return True
    name = pattern.removeprefix("*.").rstrip(".")
    return 0 < len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))


def _sites(config: Config) -> Iterator[tuple[str, str]]:
    for index, route in enumerate(config.route):
        if not route.etrn:
            continue
        if route.hold_for < config.delivery.retry_for:
            yield (
                f"route[{index}].hold_for",
                f"is shorter than delivery.retry_for (expected at least {config.delivery.retry_for:.0f} seconds)",
            )
        for place, owner in enumerate(route.owners):
            try:
                normalise_name(owner)
            except ValueError as error:
                yield f"route[{index}].owners[{place}]", f"{shown(owner)} is no account name: {error}"


def _reports(config: Config) -> Iterator[tuple[str, str]]:
    suppression = config.suppression
    if suppression.report_address and not suppression.report_accounts and not config.submission.trusted_networks:
        yield (
            "suppression.report_address",
            "nobody may hand over reports (expected the MX of that address in submission.trusted_networks, or an "
            "account in suppression.report_accounts)",
        )
    domain = suppression.report_address.rpartition("@")[2]
    route = next((each for each in config.route if domain and in_domains(each.domains, domain)), None)
    if route is not None and route.etrn:
        yield (
            "suppression.report_address",
            f"is in {domain}, whose mail waits for a site to call in (expected a route without etrn for it, before the "
            "one that has it)",
        )


def _dkim(config: Config) -> Iterator[tuple[str, str]]:
    dkim = config.dkim
    lifetime = config.delivery.retry_for + config.submission.max_hold
    if dkim.expire_after and dkim.expire_after < lifetime:
        yield (
            "dkim.expire_after",
            "is shorter than delivery.retry_for and submission.max_hold together: late mail would arrive with a void "
            f"signature (expected at least {lifetime:.0f} seconds, or 0 for never)",
        )
    taken: dict[tuple[str, str], int] = {}
    for index, key in enumerate(dkim.key):
        earlier = taken.setdefault((key.domain.lower(), key.selector.lower()), index)
        if earlier != index:
            yield f"dkim.key[{index}].selector", f"{shown(key.selector)} of {key.domain} is dkim.key[{earlier}] already"
