# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as a table on a terminal, and below it in words what is wrong and what differs."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.postroad.relay.plugins.plugin_utils.plain_words import count, percent, plain, span
from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import level_of, verdict
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import (
    DIFFERENCE,
    NOBODY,
    NOTICE,
    TROUBLE,
    Finding,
    RelayState,
)

__all__ = ["HEADINGS", "MARKS", "cells", "ports_in_short", "reasons_of", "render"]

HEADINGS = ("", "relay", "release", "settings", "cert. days", "queue", "oldest", "failed", "ports open from outside")
MARKS = {TROUBLE: "✗", DIFFERENCE: "≠", NOTICE: "!", "": "✓"}
_RIGHT = {4, 5, 6, 7}
_ABOUT = {"release": 2, "settings": 3, "certificate": 4, "queue": 5, "delivery": 7, "ports": 8}
_MOST_REASONS = 12
_LONGEST_REASON = 90


def render(relays: Sequence[RelayState], findings: Sequence[Finding]) -> str:
    """The table, why mail waits, and the findings. A column in which a relay differs from its siblings has a ≠."""
    lines = [HEADINGS, *(cells(relay, findings) for relay in relays)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]

    def shown(line: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(widths[number]) if number in _RIGHT else cell.ljust(widths[number])
            for number, cell in enumerate(line)
        ).rstrip()

    text = [shown(HEADINGS), shown(["-" * width for width in widths]), *map(shown, lines[1:])]
    waiting = reasons_of(relays)
    if waiting:
        text += ["", "Mail waits:"]
        for reason, recipients, hosts in waiting[:_MOST_REASONS]:
            short = reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"
            text.append(f"  {count(recipients):>6} recipients at {', '.join(hosts)}: {short}")
        if len(waiting) > _MOST_REASONS:
            text.append(f"  and for {len(waiting) - _MOST_REASONS} more reasons")
    for level, heading in ((TROUBLE, "Trouble:"), (DIFFERENCE, "Unlike its siblings:"), (NOTICE, "To note:")):
        told = [finding for finding in findings if finding.level == level]
        if told:
            text += ["", heading]
            text += [f"  {MARKS[level]} {each.host}: {each.about}: {plain(each.text)}" for each in told]
    return "\n".join([*text, "", verdict(relays, findings)])


def cells(relay: RelayState, findings: Sequence[Finding]) -> tuple[str, ...]:
    """A row as it is shown."""
    mark = MARKS[level_of(relay.host, findings)]
    if relay.unreachable:
        row = ["unreachable", "-", "-", "-", "-", "-"]
    else:
        queue, days = relay.queue, relay.days_left
        row = [
            f"{relay.release['version']} {relay.release['made_from'][:8]}" if relay.release else "none",
            (relay.digest or "-")[:8],
            "-" if days is None else f"{days:.0f}",
            "not running" if relay.agent is None else count(queue["messages"] if queue else None),
            span(queue["oldest"]) if queue and queue["messages"] else "-",
            percent(relay.failed_share),
        ]
    line = [mark, relay.host, *row, ports_in_short(relay)]
    for finding in findings:
        if finding.host == relay.host and finding.level == DIFFERENCE and finding.about in _ABOUT:
            column = _ABOUT[finding.about]
            if not line[column].endswith("≠"):
                line[column] += " ≠"
    return tuple(map(plain, line))


def ports_in_short(relay: RelayState) -> str:
    """Which ports are open for whom, such as ``587 465 (443 closed)``."""
    texts = []
    vantages = dict.fromkeys(port.vantage for port in relay.ports)
    for vantage in vantages:
        ports = [port for port in relay.ports if port.vantage == vantage]
        good = " ".join(str(port.port) for port in ports if port.state == "open")
        bad = {port.port: "closed" if port.state == "closed" else "troubled" for port in ports if port.state != "open"}
        if bad and not good and len(set(bad.values())) == 1:
            text = f"all {next(iter(bad.values()))}"
        else:
            told = ", ".join(f"{number} {state}" for number, state in bad.items())
            text = f"{good or 'none'} ({told})" if bad else good
        texts.append(text if len(vantages) == 1 else f"{vantage}: {text}")
    texts += ["nobody looked" if vantage == NOBODY else f"{vantage}: could not look" for vantage in relay.blind]
    return "; ".join(texts)


def reasons_of(relays: Sequence[RelayState]) -> list[tuple[str, int, list[str]]]:
    """Why mail waits in the fleet: reason, recipients and the relays that it waits at; the most frequent first."""
    found: dict[str, tuple[int, list[str]]] = {}
    for relay in relays:
        for each in (relay.queue or {}).get("reasons", ()):
            recipients, hosts = found.get(each["reason"], (0, []))
            found[each["reason"]] = (recipients + each["recipients"], [*hosts, relay.host])
    ordered = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
    return [(plain(reason), recipients, hosts) for reason, (recipients, hosts) in ordered]
