# SPDX-License-Identifier: GPL-3.0-or-later
"""The charts of the fleet's page: what waits, why it waits, what became of mail, and how long certificates last."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ansible_collections.postroad.relay.plugins.plugin_utils.plain_words import count, span
from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import Thresholds
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import RelayState
from ansible_collections.postroad.relay.plugins.plugin_utils.status.svg_chart import Bar, Mark, Part, bar_chart, strip
from ansible_collections.postroad.relay.plugins.plugin_utils.status.table import reasons_of

__all__ = ["charts"]

_MOST_REASONS = 8
_OUTCOMES = (("delivered", "green"), ("deferred", "amber"), ("failed", "red"))


def charts(relays: Sequence[RelayState], thresholds: Thresholds) -> str:
    """The sections with a chart each, in a grid."""
    return "\n".join(
        [
            '<div class="charts">',
            _waiting(relays),
            _reasons(relays),
            _outcomes(relays),
            _certificates(relays, thresholds),
            "</div>",
        ]
    )


def _section(identifier: str, heading: str, caption: str, inner: str) -> str:
    return (
        f'<section aria-labelledby="{identifier}"><h2 id="{identifier}">{heading}</h2>\n'
        f"<figure><figcaption>{caption}</figcaption>\n{inner}\n</figure></section>"
    )


def _unknown(relay: RelayState) -> Bar:
    return Bar(relay.host, "unreachable" if relay.unreachable else "not running", faint=True)


def _waiting(relays: Sequence[RelayState]) -> str:
    most = max((relay.queue["messages"] for relay in relays if relay.queue), default=0) or 1
    bars = []
    for relay in relays:
        queue = relay.queue
        if not queue:
            bars.append(_unknown(relay))
            continue
        number = queue["messages"]
        words = f"{count(number)} message{'' if number == 1 else 's'}"
        value = f"{words}, oldest {span(queue['oldest'])}" if number else "empty"
        bars.append(Bar(relay.host, value, [Part(number / most, "blue", f"{relay.host}: {words}")]))
    chart = bar_chart("chart-waiting", "Messages that wait at each relay", bars)
    return _section("waiting", "Mail that waits", "Messages in the queue of each relay.", chart)


def _reasons(relays: Sequence[RelayState]) -> str:
    found = reasons_of(relays)
    if not found:
        return _section(
            "reasons", "Why mail waits", "Recipients by the reason that they wait for.", "<p>Nothing waits.</p>"
        )
    most = found[0][1] or 1
    items = []
    for reason, recipients, hosts in found[:_MOST_REASONS]:
        many = f"{count(recipients)} recipient{'' if recipients == 1 else 's'}"
        bar = strip([Part(recipients / most, "amber", f"{many}: {reason}")])
        where = escape(", ".join(hosts))
        items.append(f'<li><p>{escape(reason)}</p>{bar}<p class="hint">{many} at {where}</p></li>')
    more = len(found) - len(items)
    if more:
        items.append(f'<li><p class="hint">and {more} more reasons</p></li>')
    listing = '<ol class="reasons">\n' + "\n".join(items) + "\n</ol>"
    return _section("reasons", "Why mail waits", "Recipients by the reason that they wait for.", listing)


def _outcomes(relays: Sequence[RelayState]) -> str:
    bars = []
    for relay in relays:
        counts = relay.counts
        if not counts:
            bars.append(_unknown(relay))
            continue
        total = sum(counts[name] for name, _ in _OUTCOMES)
        parts = [
            Part(counts[name] / total, colour, f"{relay.host}: {count(counts[name])} {name}")
            for name, colour in _OUTCOMES
            if total
        ]
        value = " · ".join(f"{count(counts[name])} {name}" for name, _ in _OUTCOMES if counts[name]) or "nothing yet"
        bars.append(Bar(relay.host, value, parts))
    chart = bar_chart("chart-outcomes", "Outcomes of delivery attempts at each relay", bars)
    dot = '<svg width="10" height="10" aria-hidden="true"><rect class="{0}" width="10" height="10" rx="2"/></svg>'
    key = "".join(f"<li>{dot.format(colour)}{name}</li>" for name, colour in _OUTCOMES)
    caption = "Recipients by what each attempt made of them, since the agent's start. Deferred ones are tried again."
    return _section("outcomes", "What became of mail", caption, f'{chart}\n<ul class="key">{key}</ul>')


def _certificates(relays: Sequence[RelayState], thresholds: Thresholds) -> str:
    longest = max([relay.days_left or 0.0 for relay in relays] + [thresholds.certificate_days * 1.5, 1.0])
    bars = []
    for relay in relays:
        days = relay.days_left
        if days is None:
            bars.append(Bar(relay.host, "unreachable" if relay.unreachable else "none", faint=True))
            continue
        colour = "red" if days < thresholds.certificate_days else "green"
        value = "has run out" if days < 0 else f"{days:.0f} days"
        bars.append(Bar(relay.host, value, [Part(days / longest, colour, f"{relay.host}: {value}")]))
    mark = Mark(thresholds.certificate_days / longest, f"┊ from {thresholds.certificate_days:.0f} days on it is told")
    chart = bar_chart("chart-certificates", "Days until each relay's certificate runs out", bars, mark)
    return _section("certificates", "How long certificates last", "Days until each relay's runs out.", chart)
