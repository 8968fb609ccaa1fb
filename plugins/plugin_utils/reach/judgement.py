# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands out in the matrix of relays, ports and vantages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansible_collections.postroad.relay.plugins.plugin_utils.reach.matrix import Matrix, Seen
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.relays import Relay
from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import LEVELS
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import DIFFERENCE, NOTICE, TROUBLE, Finding

from relay_agent.probe.verdict import What

__all__ = ["FAMILIES", "everywhere", "judge", "without_family"]

FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
#: Somebody answers, and it is not the relay as it is.
SOMEBODY_ELSE = {What.CERTIFICATE, What.OTHER, What.PORTAL, What.STRIPPED}
_MODES = {"implicit": {"TLS"}, "starttls": {"STARTTLS"}, "auto": {"TLS", "STARTTLS"}}


def judge(matrix: Matrix) -> list[Finding]:
    """Everything worth telling, the worst first."""
    found = [Finding(each.name, TROUBLE, "vantage", each.problem) for each in matrix.vantages if each.problem]
    if not matrix.vantages:
        found.append(Finding("relay_reach_from", TROUBLE, "vantage", "it names no host, so nobody looked"))
    for relay in matrix.relays:
        shut = _shut_everywhere(matrix, relay)
        if shut:
            one = f"{_ports(shut)} cannot be used from any vantage"
            found.append(
                Finding(relay.name, TROUBLE, "ports", f"{one}: the agent, its firewall, or the hosting company")
            )
        for vantage in matrix.looking:
            found += _from(matrix, relay, vantage, shut)
        found += _statement(matrix, relay)
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def everywhere(matrix: Matrix) -> list[tuple[int, str]]:
    """The settings, port and security, that work from every vantage at every relay, in each family there is."""
    common: set[tuple[int, str]] | None = None
    gone = {vantage: without_family(matrix, vantage) for vantage in matrix.looking}
    for relay in matrix.relays:
        for vantage in matrix.looking:
            here = [one for one in matrix.at(relay.name, vantage) if one.verdict.family not in gone[vantage]]
            pairs = {(one.port, kind) for one in here for kind in one.verdict.works}
            works: set[tuple[int, str]] = {
                (port, kind)
                for port, kind in pairs
                if all(kind in one.verdict.works for one in here if one.port == port)
            }
            common = works if common is None else common & works
    order = {port: place for place, port in enumerate(port for relay in matrix.relays for port in relay.ports)}
    return sorted(common or (), key=lambda each: (order.get(each[0], 0), each))


def without_family(matrix: Matrix, vantage: str) -> set[str]:
    """The address families in which a vantage reaches no relay at all: more likely its own lack than that of each."""
    seen = [one for one in matrix.seen if one.vantage == vantage]
    families: set[str] = {one.verdict.family for one in seen}
    gone = {
        family
        for family in families
        if all(one.verdict.what is What.UNREACHABLE for one in seen if one.verdict.family == family)
    }
    return gone if gone != families else set()


def _ours(matrix: Matrix, relay: Relay, vantage: str) -> list[Seen]:
    """What is the relay's and for everybody, in the families that the vantage has."""
    gone = without_family(matrix, vantage)
    return [
        one for one in matrix.at(relay.name, vantage) if one.tls not in ("", "none") and one.verdict.family not in gone
    ]


def _shut_everywhere(matrix: Matrix, relay: Relay) -> list[int]:
    """Ports that work from no vantage, where at least two looked and the relay is there for one of them."""
    seen = [one for vantage in matrix.looking for one in _ours(matrix, relay, vantage)]
    working = {one.port for one in seen if one.verdict.works}
    if len({one.vantage for one in seen}) < 2 or not working:
        return []
    return [port for port in dict.fromkeys(one.port for one in seen) if port not in working]


def _from(matrix: Matrix, relay: Relay, vantage: str, shut: Sequence[int]) -> Iterator[Finding]:
    if (relay.name, vantage) in matrix.unknown:
        yield Finding(relay.name, TROUBLE, "reach", f"from {vantage}: {matrix.unknown[relay.name, vantage]}")
        return
    ours = _ours(matrix, relay, vantage)
    if not any(one.verdict.works for one in ours):
        if not ours:
            yield Finding(relay.name, TROUBLE, "reach", f"from {vantage}: it has no port for mail programs")
        elif all(one.verdict.what in SOMEBODY_ELSE for one in ours):
            yield Finding(
                relay.name, TROUBLE, "reach", f"from {vantage}: somebody else answers on all ports: {_words(ours)}"
            )
        else:
            yield Finding(relay.name, TROUBLE, "reach", f"from {vantage}: not reachable on any port: {_words(ours)}")
        return
    yield from _closed(matrix, relay, vantage, [one for one in ours if one.port not in shut])
    said = matrix.said.get(relay.name)
    strange = [one for one in ours if said is not None and one.key and one.key != said.key]
    if strange:
        yield Finding(
            relay.name,
            TROUBLE,
            "key",
            f"from {vantage}: {_ports([one.port for one in strange])}: the certificate is trusted there, but its key "
            "is another than the relay's signed statement names: a proxy that this vantage trusts reads along, or the "
            "relay's certificate has just been renewed",
        )


def _closed(matrix: Matrix, relay: Relay, vantage: str, ours: Sequence[Seen]) -> Iterator[Finding]:
    """Ports or ways of TLS that do not work, by reason; a difference where siblings have them from the same vantage."""
    reasons: dict[tuple[str, str, str, str], list[int]] = {}
    for one in ours:
        missing = sorted(_MODES[one.tls] - set(one.verdict.works))
        if not missing:
            continue
        others = _siblings_with(matrix, relay, one, missing)
        level = DIFFERENCE if others else NOTICE
        about = "intercepted" if one.verdict.what in SOMEBODY_ELSE else "ports"
        words = f"{' and '.join(missing)} does not work there" if one.verdict.works else one.verdict.words
        more = f"; from there it works at {_names(others)}" if others else ""
        reasons.setdefault((level, about, one.verdict.family, words + more), []).append(one.port)
    both: dict[tuple[str, str, str, tuple[int, ...]], list[str]] = {}
    for (level, about, family, words), ports in reasons.items():
        both.setdefault((level, about, words, tuple(ports)), []).append(FAMILIES[family])
    for (level, about, words, ports_), families in both.items():
        over = f" over {families[0]}" if len(families) == 1 and len({one.verdict.family for one in ours}) > 1 else ""
        yield Finding(relay.name, level, about, f"from {vantage}: {_ports(ports_)}{over}: {words}")


def _siblings_with(matrix: Matrix, relay: Relay, one: Seen, missing: Sequence[str]) -> list[str]:
    siblings = [each for each in matrix.relays if each.siblings == relay.siblings and each.name != relay.name]
    return [
        each.name
        for each in siblings
        for other in matrix.at(each.name, one.vantage, one.port)
        if other.verdict.family == one.verdict.family and set(missing) <= set(other.verdict.works)
    ]


def _statement(matrix: Matrix, relay: Relay) -> Iterator[Finding]:
    if relay.name in matrix.contested:
        where: dict[str, list[str]] = {}
        for one in matrix.seen:
            if one.relay == relay.name and one.key and one.vantage not in where.setdefault(one.key, []):
                where[one.key].append(one.vantage)
        sides = " and another ".join(f"from {_names(vantages)}" for vantages in where.values())
        yield Finding(
            relay.name,
            TROUBLE,
            "key",
            f"several keys speak for it, one {sides}, each trusted where it was seen: a proxy reads along at one of "
            "them, or its certificate has just been renewed. Only the relay's own authority could tell which is its "
            "own (relay_reach_ca_file)",
        )
        return
    said = matrix.said.get(relay.name)
    works = any(one.verdict.works for one in matrix.seen if one.relay == relay.name)
    if said is None:
        if works:
            text = "its signed statement got through to no vantage: is its release an older one?"
            yield Finding(relay.name, NOTICE, "statement", text)
        return
    own, wanted = dict(said.ports), dict(relay.listeners)
    if {port: own[port] for port in own if port in wanted} != wanted:
        yield Finding(
            relay.name,
            DIFFERENCE,
            "statement",
            f"it says, signed, that it has {_modes(own)}; the inventory has {_modes(wanted)}: it is not rolled out "
            "yet, or was changed by hand",
        )


def _modes(ports: dict[int, str]) -> str:
    return ", ".join(f"{port} {tls}" for port, tls in ports.items()) or "no port"


def _words(seen: Sequence[Seen]) -> str:
    """Each reason once, with its ports."""
    reasons: dict[str, list[int]] = {}
    for one in seen:
        reasons.setdefault(one.verdict.words, []).append(one.port)
    if len(reasons) == 1:
        return next(iter(reasons))
    return "; ".join(f"{_ports(ports)} {words}" for words, ports in reasons.items())


def _ports(ports: Sequence[int]) -> str:
    numbers = list(dict.fromkeys(ports))
    return f"port{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
