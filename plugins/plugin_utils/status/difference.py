# SPDX-License-Identifier: GPL-3.0-or-later
"""Which relays differ from their siblings, and in what: a traveller must find the same at every one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import DIFFERENCE, Finding, RelayState

__all__ = ["ABSENT", "different_values", "differences"]

ABSENT = "not set"
_MOST_NAMED = 4
_NOTHING = "nothing more"
_LONGEST = 60
_STATES = {"open": "open", "troubled": "open, with trouble", "closed": "closed"}

Words = Callable[[Any, Mapping[Any, Sequence[str]]], str]
"""Says of a value, and of the others' with the hosts that have them, how it differs."""


def differences(relays: Sequence[RelayState]) -> list[Finding]:
    """A finding for each relay and thing in which it is not as most of its siblings are.

    Where no value has a majority of its own, every relay is named with what the others have. Relays that could not
    be read are left out: nothing is known of them.
    """
    found: list[Finding] = []
    for name in dict.fromkeys(relay.siblings for relay in relays):
        group = [relay for relay in relays if relay.siblings == name and not relay.unreachable]
        if len(group) > 1:
            found += _of_group(group)
    order = {relay.host: number for number, relay in enumerate(relays)}
    return sorted(found, key=lambda finding: order[finding.host])


def different_values(about: str, values: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """The same for plain values, by thing and then by host."""
    return list(_findings(about, values, _plainly))


def _of_group(group: Sequence[RelayState]) -> Iterator[Finding]:
    releases = {relay.host: _release(relay) for relay in group if relay.release}
    yield from _findings("release", {"the release": releases}, _plainly)
    for about, prefix, words in (
        ("settings", "", _plainly),
        ("accounts", "account ", _hidden),
        ("secrets", "", _hidden),
    ):
        tables = {relay.host: relay.reading.get(about) for relay in group}
        keys = dict.fromkeys(key for table in tables.values() for key in table or ())
        values = {
            f"{prefix}{key}": {host: table.get(key) for host, table in tables.items() if table is not None}
            for key in keys
        }
        yield from _findings(about, values, words)
    for vantage in dict.fromkeys(port.vantage for relay in group for port in relay.ports):
        yield from _of_ports(group, vantage)


def _of_ports(group: Sequence[RelayState], vantage: str) -> Iterator[Finding]:
    """What a mail program meets at each port: whether it is open, and if so, what is offered."""
    # A drained relay has its ports closed on purpose; programs are sent to its siblings.
    taking = [relay for relay in group if not relay.drained]
    seen = {relay.host: {p.port: p for p in relay.ports if p.vantage == vantage} for relay in taking}
    seen = {host: ports for host, ports in seen.items() if ports}
    states: dict[str, dict[str, Any]] = {}
    offers: dict[str, dict[str, Any]] = {}
    for number in dict.fromkeys(number for ports in seen.values() for number in ports):
        here = {host: ports.get(number) for host, ports in seen.items()}
        states[str(number)] = {host: port and _STATES[port.state] for host, port in here.items()}
        offers[str(number)] = {host: port.offers for host, port in here.items() if port and port.state == "open"}
    yield from _by_ports(vantage, "", _findings("ports", states, _plainly))
    yield from _by_ports(vantage, " offers", _findings("ports", offers, _unlike_offers))


def _by_ports(vantage: str, verb: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The ports of which the same is to be said in one sentence."""
    alike: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        port, _, text = finding.text.partition(": ")
        alike.setdefault((finding.host, text), []).append(port)
    for (host, text), ports in alike.items():
        many = f"ports {', '.join(ports)}" if len(ports) > 1 else f"port {ports[0]}"
        yield Finding(host, DIFFERENCE, "ports", f"seen from {vantage}, {many}{verb}: {text}")


def _findings(about: str, values: Mapping[str, Mapping[str, Any]], words: Words) -> Iterator[Finding]:
    """For each thing, those hosts whose value is not that of the majority. `values` are by thing, then by host."""
    for what, by_host in values.items():
        ordered = Counter(by_host.values()).most_common(2)
        if len(ordered) < 2:
            continue
        decided = ordered[0][1] > ordered[1][1]
        for host, value in by_host.items():
            if decided and value == ordered[0][0]:
                continue
            others: dict[Any, list[str]] = {}
            for other, theirs in by_host.items():
                if theirs != value:
                    others.setdefault(theirs, []).append(other)
            yield Finding(host, DIFFERENCE, about, f"{what}{words(value, others)}")


def _release(relay: RelayState) -> str | None:
    # By what it was made from; the id itself differs between Debian 12 and 13.
    return f"{relay.release['version']} ({relay.release['made_from'][:8]})" if relay.release else None


def _plainly(value: Any, others: Mapping[Any, Sequence[str]]) -> str:
    there = [f"{_short(theirs)} at {_names(hosts)}" for theirs, hosts in others.items()]
    return f": {_short(value)} here, {'; '.join(there)}"


def _short(value: Any) -> str:
    text = ABSENT if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _hidden(value: Any, others: Mapping[Any, Sequence[str]]) -> str:
    """Where only digests are known."""
    if value is None:
        return f" is missing here, and is at {_names([host for hosts in others.values() for host in hosts])}"
    parts = [f"is not at {_names(others[None])}"] if None in others else []
    unlike = [host for theirs, hosts in others.items() if theirs is not None for host in hosts]
    if unlike:
        parts.append(f"is not as at {_names(unlike)}")
    return f" {' and '.join(parts)}"


def _unlike_offers(mine: Sequence[str], others: Mapping[Any, Sequence[str]]) -> str:
    """Only the lines in which the answers to EHLO differ; the rest would hide them."""
    there = [
        f"{', '.join(line for line in theirs if line not in mine) or _NOTHING} at {_names(hosts)}"
        for theirs, hosts in others.items()
    ]
    here = ", ".join(line for line in mine if any(line not in theirs for theirs in others))
    return f": {here or _NOTHING} here, {'; '.join(there)}"


def _names(hosts: Sequence[str]) -> str:
    named = list(hosts[:_MOST_NAMED])
    more = len(hosts) - len(named)
    if more:
        return f"{', '.join(named)} and {more} more"
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
