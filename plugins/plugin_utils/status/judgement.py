# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong in a fleet: one list of findings, and whether a run of the playbook has to fail for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.plain_words import percent, span
from ansible_collections.postroad.relay.plugins.plugin_utils.status.difference import differences
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import (
    DIFFERENCE,
    NOTICE,
    TROUBLE,
    Finding,
    PortState,
    RelayState,
)

__all__ = ["FAIL_ON", "LEVELS", "Thresholds", "failing", "judge", "level_of", "verdict"]

LEVELS = (TROUBLE, DIFFERENCE, NOTICE)
FAIL_ON = {"never": (), "trouble": LEVELS[:1], "difference": LEVELS[:2], "notice": LEVELS}
"""For each choice of relay_status_fail_on the levels that fail the play."""

_MANY_ENOUGH = 20  # recipients done with, before a share of them means anything


@dataclass(frozen=True)
class Thresholds:
    """From where on something is told. Shares are 0 to 1."""

    certificate_days: float = 21
    """A notice; under a third of it, trouble."""
    queue_messages: int = 1000
    queue_oldest: float = 4 * 3600
    """Seconds."""
    failed_share: float = 0.1

    @classmethod
    def given(cls, options: Mapping[str, Any] | None) -> Thresholds:
        """Those that are set; for the others, what is usual."""
        names = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in (options or {}).items() if name in names and value is not None})


def judge(relays: Sequence[RelayState], thresholds: Thresholds) -> list[Finding]:
    """Everything worth telling, the worst first, hosts in their order within."""
    found = [finding for relay in relays for finding in _of(relay, thresholds)] + differences(relays)
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def level_of(host: str, findings: Sequence[Finding]) -> str:
    """The worst that is told of a host; "" when all is well."""
    levels = {finding.level for finding in findings if finding.host == host}
    return next((level for level in LEVELS if level in levels), "")


def failing(findings: Sequence[Finding], fail_on: str) -> list[Finding]:
    """Those for which the play has to fail."""
    return [finding for finding in findings if finding.level in FAIL_ON[fail_on]]


def verdict(relays: Sequence[RelayState], findings: Sequence[Finding]) -> str:
    """The fleet in one sentence."""
    many = f"{len(relays)} relay{'' if len(relays) == 1 else 's'}"
    levels = [level_of(relay.host, findings) for relay in relays]
    if not any(levels):
        return f"{many}, and all is well" if relays else "the inventory has no relay"
    kinds = (
        (TROUBLE, "in trouble"),
        (DIFFERENCE, "unlike its siblings" if levels.count(DIFFERENCE) == 1 else "unlike their siblings"),
        (NOTICE, "with something to note"),
    )
    parts = [f"{levels.count(level)} {words}" for level, words in kinds if level in levels]
    if "" in levels:
        parts.append(f"{levels.count('')} well")
    return f"{many}: {', '.join(parts)}"


def _of(relay: RelayState, limits: Thresholds) -> Iterator[Finding]:
    def finding(level: str, about: str, text: str) -> Finding:
        return Finding(relay.host, level, about, text)

    if relay.unreachable:
        yield finding(TROUBLE, "host", f"could not be read: {relay.unreachable}")
    elif not relay.reading.get("installed"):
        yield finding(TROUBLE, "host", "no agent is installed: run playbooks/site.yml")
    else:
        for level, about, text in _of_agent(relay, limits):
            yield finding(level, about, text)
        for level, about, text in _of_certificate(relay, limits):
            yield finding(level, about, text)
    for level, text in _of_ports(relay):
        yield finding(level, "ports", text)


_Told = tuple[str, str, str]


def _of_agent(relay: RelayState, limits: Thresholds) -> Iterator[_Told]:
    for problem in relay.reading.get("problems", ()):
        yield TROUBLE, "agent", problem
    for unit, state in relay.reading.get("units", {}).items():
        if relay.drained and unit.endswith(".socket"):
            continue  # its ports are closed on purpose
        if not state.startswith(("active,", "reloading,")):
            yield TROUBLE, "agent", f"{unit} is {state}: systemctl status {unit} tells why"
        elif not state.endswith("enabled"):
            yield NOTICE, "agent", f"{unit} does not start at boot: systemctl enable {unit}"
    if relay.reading.get("by_hand"):
        yield NOTICE, "settings", "agent.toml is not as the last deployment left it: site.yml puts it back"
    agent, queue, counts = relay.agent, relay.queue, relay.counts
    if agent is None:
        return
    if relay.drained:
        yield NOTICE, "ports", _drained(relay)
    if agent["port25"] == "closed":
        yield NOTICE, "delivery", "port 25 to the outside is closed: have it opened, or send through an upstream relay"
    if agent["quarantined"]:
        yield TROUBLE, "queue", f"{agent['quarantined']} held after faults of the agent: relay-agent status has them"
    for listing in agent["listed"]:
        yield TROUBLE, "delivery", f"is on a block list: {listing}"
    for upstream in agent["upstreams_in_trouble"]:
        yield NOTICE, "delivery", f"the upstream relay {upstream} takes no mail: relay-agent status tells why"
    if queue is not None:
        if queue["messages"] >= limits.queue_messages:
            yield NOTICE, "queue", f"{queue['messages']:,} messages wait: relay-agent queue list"
        if (queue["oldest"] or 0) >= limits.queue_oldest:
            yield NOTICE, "queue", f"the oldest message has waited {span(queue['oldest'])}: relay-agent queue list"
    share, recent = relay.failed_share, relay.recent
    if recent and share is not None and share >= limits.failed_share:
        numbers, since = recent
        if numbers["delivered"] + numbers["failed"] >= _MANY_ENOUGH:
            yield NOTICE, "delivery", f"{percent(share)} of the recipients since {since} failed for good"
    if counts and counts["worker_restarts"]:
        yield NOTICE, "agent", f"{counts['worker_restarts']:.0f} workers have ended by themselves: the log tells why"


def _of_certificate(relay: RelayState, limits: Thresholds) -> Iterator[_Told]:
    days = relay.days_left
    if days is None:
        if any(port.tls != "none" for port in relay.ports):
            yield TROUBLE, "certificate", "there is none that can be read"
        return
    when = f"{relay.certificate.not_valid_after_utc:%Y-%m-%d}" if relay.certificate else ""
    if days < 0:
        yield TROUBLE, "certificate", f"has run out on {when}: mail programs refuse the relay"
    elif days < limits.certificate_days:
        level = TROUBLE if days < limits.certificate_days / 3 else NOTICE
        yield level, "certificate", f"runs out on {when}, in {days:.0f} days"
    shown = {port.fingerprint for port in relay.ports if port.fingerprint}
    if shown - {relay.fingerprint}:
        yield TROUBLE, "certificate", "ports show another one than is on the disk: systemctl reload relay-agent"


def _of_ports(relay: RelayState) -> Iterator[tuple[str, str]]:
    for vantage, why in relay.blind.items():
        yield TROUBLE, f"could not be looked at from {vantage}: {why}"
    alike: dict[tuple[str, str, str], list[PortState]] = {}
    for port in relay.ports:
        if port.state != "open" and not (relay.drained and port.state == "closed"):
            alike.setdefault((port.vantage, port.state, port.problem), []).append(port)
    for (vantage, state, problem), ports in alike.items():
        numbers = f"port{'' if len(ports) == 1 else 's'} {', '.join(str(port.port) for port in ports)}"
        words = "closed" if state == "closed" else "open, with trouble"
        yield TROUBLE, f"seen from {vantage}, {numbers} {words}: {problem}"
    agent = relay.agent
    if agent is not None and relay.ports and not relay.drained:
        wanted, has = {port.port for port in relay.ports}, {each["port"] for each in agent["listeners"]}
        if missing := sorted(wanted - has):
            yield TROUBLE, f"the agent does not listen on {_numbers(missing)}, which the inventory has: run site.yml"


def _drained(relay: RelayState) -> str:
    drained = relay.drained or {}
    since = f" for {span(float(relay.reading['read_at']) - drained['since'])}" if drained.get("since") else ""
    because = f" ({drained['because']})" if drained.get("because") else ""
    return f"is drained{since}{because}: takes no mail until playbooks/undrain.yml"


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
