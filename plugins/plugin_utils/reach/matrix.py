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
from relay_agent.probe.survey import all_proved
from relay_agent.probe.verdict import Verdict, What
from relay_agent.probe.wire import read_attempt

__all__ = ["Matrix", "Seen", "Vantage", "read_matrix"]

_LONGEST = 300  # characters of why there is nothing, in a vantage's words


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
    words, where they got through somewhere. contested: relays for which several keys spoke, all trusted where they were
    seen and none certified by an authority of the operator's: nothing tells which is the relay's."""

    relays: tuple[Relay, ...]
    vantages: tuple[Vantage, ...]
    seen: tuple[Seen, ...]
    unknown: Mapping[tuple[str, str], str]
    said: Mapping[str, Statement]
    contested: frozenset[str] = frozenset()

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
            if vantage.problem:
                continue
            try:
                found[relay.name][vantage.name] = _attempts(relay, one["relays"].get(relay.name) or {})
            except _UntriedError as error:
                unknown[relay.name, vantage.name] = str(error)
    seen: list[Seen] = []
    said: dict[str, Statement] = {}
    contested: set[str] = set()
    for relay in relays:
        everywhere = [attempt for attempts in found[relay.name].values() for attempt in attempts]
        statements = all_proved(everywhere, (), authorities.encode("ascii", "replace"))
        keys = {each.key for each in statements} or {_trusted(each) for each in everywhere} - {""}
        if statements and len(keys) == 1:
            said[relay.name] = statements[0]
        elif statements:
            contested.add(relay.name)
        known = probe_verdict.Relay(relay.host, keys, dict(relay.listeners))
        for vantage_name, attempts in found[relay.name].items():
            seen += _judged(relay, vantage_name, known, attempts)
    return Matrix(tuple(relays), vantages, tuple(seen), unknown, said, frozenset(contested))


class _UntriedError(Exception):
    """There are no attempts; the text says why."""


def _attempts(relay: Relay, told: Any) -> list[Attempt]:
    """What a vantage tried, with both tries of each port and family, and nothing of ports that it was not asked for.

    Raises _UntriedError, also for what is no answer: one vantage that talks nonsense does not cost the others' report.
    """
    try:
        if "attempts" not in told:
            raise _UntriedError(str(told.get("problem") or "it was not tried")[:_LONGEST])
        attempts = [describe(read_attempt(relay.host, each)) for each in told["attempts"]]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise _UntriedError(f"its answer cannot be read: {str(error)[:_LONGEST]}") from None
    asked = [each for each in attempts if each.target.port in relay.ports]
    modes: dict[tuple[int, str], set[str]] = {}
    for each in asked:
        modes.setdefault((each.target.port, each.target.family), set()).add(each.target.mode)
    if not all(len(each) == len(("greeting", "tls")) for each in modes.values()):
        raise _UntriedError("its answer cannot be read: a port was tried in one way only")
    return asked


def _vantage(result: Mapping[str, Any]) -> Vantage:
    name = str(result.get("item", ""))
    if "relays" in result:
        return Vantage(name, python=str(result.get("python", "")))
    words = (str(result.get("msg") or "").strip() or "it gave no answer").splitlines()[-1]
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
