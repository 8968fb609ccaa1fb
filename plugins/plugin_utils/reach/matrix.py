# SPDX-License-Identifier: GPL-3.0-or-later
"""What every vantage saw of every port of every relay, from what they tried; the relays' signed words are taken from
all vantages together, so that one honest network is enough to recognise whoever sits in another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils import agent_package  # noqa: F401  finds relay_agent
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.relays import Relay

from relay_agent.probe import verdict as probe_verdict
from relay_agent.probe.attempt import Attempt
from relay_agent.probe.presented import describe
from relay_agent.probe.statement import Statement
from relay_agent.probe.survey import proved
from relay_agent.probe.verdict import Verdict, What
from relay_agent.probe.wire import read_attempt

__all__ = ["Matrix", "Seen", "Vantage", "read_matrix"]


@dataclass(frozen=True)
class Vantage:
    """problem: why it could try nothing; "" when it could."""

    name: str
    problem: str = ""
    python: str = ""


@dataclass(frozen=True)
class Seen:
    """One port of a relay in one address family from one vantage. tls: the mode that the inventory has for it, "" for a
    port that is none of the relay's. key: of the certificate that was shown and trusted there; "" without one."""

    relay: str
    vantage: str
    tls: str
    verdict: Verdict
    key: str

    @property
    def port(self) -> int:
        """Its number."""
        return self.verdict.port


@dataclass(frozen=True)
class Matrix:
    """unknown: for a relay and a vantage, why the relay could not be tried from there. said: the relays' own signed
    words, where they got through somewhere."""

    relays: tuple[Relay, ...]
    vantages: tuple[Vantage, ...]
    seen: tuple[Seen, ...]
    unknown: Mapping[tuple[str, str], str]
    said: Mapping[str, Statement]

    @property
    def looking(self) -> list[str]:
        """The vantages that could look."""
        return [vantage.name for vantage in self.vantages if not vantage.problem]

    def at(self, relay: str, vantage: str, port: int | None = None) -> list[Seen]:
        """What a vantage saw of a relay; of all its ports, or of one."""
        return [one for one in self.seen if (one.relay, one.vantage) == (relay, vantage) and port in (None, one.port)]


def read_matrix(relays: Sequence[Relay], tried: Sequence[Mapping[str, Any]], authorities: str) -> Matrix:
    """Judge what was tried. tried: the results of reach_try, one for each vantage. authorities: PEM, or ""."""
    vantages = tuple(_vantage(one) for one in tried)
    found: dict[str, dict[str, list[Attempt]]] = {relay.name: {} for relay in relays}
    unknown: dict[tuple[str, str], str] = {}
    for vantage, one in zip(vantages, tried, strict=True):
        for relay in relays:
            told = (one.get("relays") or {}).get(relay.name) or {}
            if "attempts" in told:
                attempts = [describe(read_attempt(relay.host, each)) for each in told["attempts"]]
                found[relay.name][vantage.name] = attempts
            elif not vantage.problem:
                unknown[relay.name, vantage.name] = str(told.get("problem") or "it was not tried")
    seen: list[Seen] = []
    said: dict[str, Statement] = {}
    for relay in relays:
        everywhere = [attempt for attempts in found[relay.name].values() for attempt in attempts]
        statement = proved(everywhere, (), authorities.encode("ascii", "replace"))
        if statement is not None:
            said[relay.name] = statement
        keys = {statement.key} if statement is not None else {_trusted(each) for each in everywhere} - {""}
        known = probe_verdict.Relay(relay.host, keys, dict(relay.listeners))
        for vantage_name, attempts in found[relay.name].items():
            seen += _judged(relay, vantage_name, known, attempts)
    return Matrix(tuple(relays), vantages, tuple(seen), unknown, said)


def _vantage(result: Mapping[str, Any]) -> Vantage:
    name = str(result.get("item", ""))
    if "relays" in result:
        return Vantage(name, python=str(result.get("python", "")))
    words = str(result.get("msg") or "it gave no answer").strip().splitlines()[-1]
    return Vantage(name, f"it cannot be reached: {words}" if result.get("unreachable") else words)


def _judged(relay: Relay, vantage: str, known: probe_verdict.Relay, attempts: Sequence[Attempt]) -> Iterator[Seen]:
    tls = dict(relay.listeners)
    pairs: dict[tuple[int, str], dict[str, Attempt]] = {}
    for each in attempts:
        pairs.setdefault((each.target.port, each.target.family), {})[each.target.mode] = each
    places = {port: place for place, port in enumerate(relay.ports)}
    for (port, _), pair in sorted(pairs.items(), key=lambda item: (places.get(item[0][0], len(places)), item[0])):
        judged = probe_verdict.judge(known, pair["greeting"], pair["tls"])
        key = _trusted(pair["tls"]) or _trusted(pair["greeting"]) if judged.what in (What.OPEN, What.SLOW) else ""
        yield Seen(relay.name, vantage, tls.get(port, ""), judged, key)


def _trusted(attempt: Attempt) -> str:
    """The key of the certificate that was shown and is trusted; "" without one."""
    shown = attempt.certificate
    return shown.key if shown is not None and not shown.problem else ""
