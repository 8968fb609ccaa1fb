# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the fleet as one HTML page that needs nothing else: no script, no file, no host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from ansible_collections.postroad.relay.plugins.plugin_utils.plain_words import count, percent, plain, span
from ansible_collections.postroad.relay.plugins.plugin_utils.status.charts import charts
from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import Thresholds, level_of, verdict
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import (
    DIFFERENCE,
    NOTICE,
    TROUBLE,
    Finding,
    PortState,
    RelayState,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.status.style import STYLE

__all__ = ["page"]

_WORDS = {TROUBLE: "✗ trouble", DIFFERENCE: "≠ differs", NOTICE: "! to note", "": "✓ well"}
_PORT_WORDS = {"open": "✓ open", "closed": "✗ closed", "troubled": "✗ trouble"}
# A page that is opened from a disk or a mail must not fetch or run anything, whatever a host's name may hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(relays: Sequence[RelayState], findings: Sequence[Finding], thresholds: Thresholds, at: float) -> str:
    """The page. at: seconds since the epoch."""
    sentence = verdict(relays, findings)
    worst = next((level for level in (TROUBLE, DIFFERENCE, NOTICE) if any(f.level == level for f in findings)), "")
    moment = datetime.fromtimestamp(at, UTC)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="robots" content="noindex">',
        f"<title>Relays: {_text(sentence)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        "<header>",
        "<h1>Relays</h1>",
        f'<p class="verdict {worst or "well"}">{_text(sentence)}</p>',
        f'<p class="when">As of <time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%Y-%m-%d %H:%M} UTC</time></p>',
        "</header>",
        "<main>",
        _tiles(relays),
        _findings(findings),
        _fleet(relays, findings),
        *_ports(relays),
        charts(relays, thresholds),
        _settings(relays, findings),
        "</main>",
        "<footer><p>Made by Postroad's playbooks/status.yml. Numbers of deliveries count from the start of each "
        "relay's agent.</p></footer>",
        "</body>",
        "</html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _text(text: str) -> str:
    return escape(plain(text))


def _tiles(relays: Sequence[RelayState]) -> str:
    queues = [(relay, relay.queue) for relay in relays]
    known = [(relay, queue) for relay, queue in queues if queue]
    waiting = sum(queue["messages"] for _, queue in known)
    oldest = max(((queue["oldest"] or 0, relay.host) for relay, queue in known), default=None)
    counts = [relay.counts for relay in relays if relay.counts]
    delivered = sum(each["delivered"] for each in counts)
    done = delivered + sum(each["failed"] for each in counts)
    days = min(((relay.days_left, relay.host) for relay in relays if relay.days_left is not None), default=None)
    running = sum(relay.agent is not None for relay in relays)
    sessions = sum((relay.agent or {}).get("sessions", 0) for relay in relays)
    longest = f"oldest {span(oldest[0])}, at {oldest[1]}" if waiting and oldest else "nothing waits"
    failed = f"{percent((done - delivered) / done)} failed" if done else "none yet"
    first = f"the first to run out is {days[1]}'s" if days else "none read"
    tiles = [
        ("Agents running", f"{running} of {len(relays)}", f"{sessions} session{'' if sessions == 1 else 's'} now"),
        ("Messages waiting", count(waiting), longest),
        ("Recipients delivered", count(delivered), failed),
        ("Certificates", f"{days[0]:.0f} days" if days else "-", first),
    ]
    inner = "\n".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}<small>{_text(more)}</small></dd></div>"
        for name, value, more in tiles
    )
    return f'<dl class="tiles">\n{inner}\n</dl>'


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    items = "\n".join(
        f'<li><div><span class="tag {each.level}">{_WORDS[each.level]}</span></div>'
        f"<p><strong>{_text(each.host)}</strong>, {_text(each.about)}: {_text(each.text)}</p></li>"
        for each in findings
    )
    head = '<section aria-labelledby="attention"><h2 id="attention">What needs attention</h2>'
    return f'{head}\n<ul class="findings">\n{items}\n</ul></section>'


_COLUMNS = ("relay", "state", "release", "settings", "certificate", "queue", "delivered", "failed", "running for")


def _fleet(relays: Sequence[RelayState], findings: Sequence[Finding]) -> str:
    heads = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in _COLUMNS)
    rows = "\n".join(_row(relay, findings) for relay in relays)
    return (
        '<section aria-labelledby="relays"><h2 id="relays">Every relay</h2>\n<div class="scroll">'
        '<table class="cards" role="table"><caption>Release, settings and certificate of each, what waits there, and '
        "what became of mail. Equal settings have equal digits.</caption>\n"
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{rows}\n</tbody></table></div></section>'
    )


def _row(relay: RelayState, findings: Sequence[Finding]) -> str:
    level = level_of(relay.host, findings)
    differing = {f.about for f in findings if f.host == relay.host and f.level == DIFFERENCE}
    tag = f'<span class="tag {level or "well"}">{_WORDS[level]}</span>'
    if relay.unreachable:
        told = f'<span class="tag trouble">✗ unreachable</span> <small>{_text(relay.unreachable)}</small>'
        cells = _cell("state", f"<span>{told}</span>", columns=len(_COLUMNS) - 1)
    else:
        cells = "".join(_cell(name, value, differs=name in differing) for name, value in _values(relay, tag).items())
    return f'<tr role="row"><th scope="row" role="rowheader">{_text(relay.host)}</th>{cells}</tr>'


def _values(relay: RelayState, tag: str) -> dict[str, str]:
    release, queue, counts, days = relay.release, relay.queue, relay.counts, relay.days_left
    stopped = "" if relay.agent is not None else "<small>the agent does not run</small>"
    oldest = f"<small>oldest {span(queue['oldest'])}</small>" if queue and queue["messages"] else ""
    return {
        "state": f"<span>{tag}{stopped}</span>",
        "release": _release(release) if release else "none",
        "settings": f"<code>{_text((relay.digest or '-')[:8])}</code>",
        "certificate": "-"
        if days is None or relay.certificate is None
        else f"<span>{days:.0f} days<small>{_day(relay.certificate.not_valid_after_utc)}</small></span>",
        "queue": f"<span>{count(queue['messages'])}{oldest}</span>" if queue else "-",
        "delivered": count(counts["delivered"]) if counts else "-",
        "failed": f"<span>{percent(relay.failed_share)}<small>since {_text(relay.recent[1])}</small></span>"
        if relay.recent
        else "-",
        "running for": span(relay.agent["uptime"]) if relay.agent else "-",
    }


def _day(moment: datetime) -> str:
    return f"<time>{moment:%Y-%m-%d}</time>"


def _release(release: Mapping[str, str]) -> str:
    made_from = f"<small><code>{_text(release['made_from'][:8])}</code></small>"
    return f"<span>{_text(release['version'])}{made_from}</span>"


def _cell(name: str, value: str, *, differs: bool = False, columns: int = 1) -> str:
    attributes = ' class="differs" title="not as at its siblings"' if differs else ""
    wide = f' colspan="{columns}"' if columns > 1 else ""
    said = "≠ " if differs else ""
    return f'<td role="cell" data-name="{said}{name}"{attributes}{wide}>{value}</td>'


def _ports(relays: Sequence[RelayState]) -> list[str]:
    vantages = dict.fromkeys(
        [port.vantage for relay in relays for port in relay.ports] + [name for relay in relays for name in relay.blind]
    )
    tables = [_port_table(relays, vantage) for vantage in vantages]
    if not tables:
        return []
    return ['<section aria-labelledby="ports"><h2 id="ports">Ports, seen from outside</h2>', *tables, "</section>"]


def _port_table(relays: Sequence[RelayState], vantage: str) -> str:
    ports = list(dict.fromkeys(port.port for relay in relays for port in relay.ports if port.vantage == vantage))
    heads = "".join(f'<th scope="col" role="columnheader">{number}</th>' for number in ports)
    rows = []
    for relay in relays:
        seen = {port.port: port for port in relay.ports if port.vantage == vantage}
        if vantage in relay.blind:
            cells = _cell("all ports", f"could not look: {_text(relay.blind[vantage])}", columns=max(len(ports), 1))
        else:
            cells = "".join(_cell(f"port {number}", _port(seen.get(number))) for number in ports)
        rows.append(f'<tr role="row"><th scope="row" role="rowheader">{_text(relay.host)}</th>{cells}</tr>')
    body = "\n".join(rows)
    return (
        f'<div class="scroll"><table class="cards" role="table"><caption>From {_text(vantage)}: connection, greeting, '
        "TLS and certificate of each port. The time is that of connecting.</caption>\n"
        '<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">relay</th>'
        f'{heads}</tr></thead>\n<tbody role="rowgroup">\n{body}\n</tbody></table></div>'
    )


def _port(port: PortState | None) -> str:
    if port is None:
        return "-"
    # What stands in brackets is told above.
    more = (port.version or port.tls) if port.state == "open" else port.problem.partition(" (")[0]
    time = f", {port.seconds * 1000:.0f} ms" if port.seconds is not None and port.state == "open" else ""
    state = f'<span class="{port.state}">{_PORT_WORDS[port.state]}</span>'
    return f"<span>{state}<small>{_text(more)}{time}</small></span>"


def _settings(relays: Sequence[RelayState], findings: Sequence[Finding]) -> str:
    """The settings in which relays differ, side by side."""
    known = [relay for relay in relays if relay.reading.get("settings") is not None]
    groups = dict.fromkeys(relay.siblings for relay in known)
    tables = []
    for name in groups:
        group = [relay for relay in known if relay.siblings == name]
        keys = dict.fromkeys(key for relay in group for key in relay.reading["settings"])
        unlike = [key for key in keys if len({relay.reading["settings"].get(key) for relay in group}) > 1]
        if unlike:
            tables.append(_settings_table(group, unlike, name if len(groups) > 1 else ""))
    if not tables:
        return ""
    return "\n".join(
        ['<section aria-labelledby="unlike"><h2 id="unlike">Settings that differ</h2>', *tables, "</section>"]
    )


def _settings_table(group: Sequence[RelayState], keys: Sequence[str], name: str) -> str:
    heads = "".join(f'<th scope="col" role="columnheader">{_text(relay.host)}</th>' for relay in group)
    rows = []
    for key in keys:
        values = {_text(relay.host): relay.reading["settings"].get(key) for relay in group}
        cells = "".join(_cell(host, _setting(value)) for host, value in values.items())
        rows.append(f'<tr role="row"><th scope="row" role="rowheader"><code>{_text(key)}</code></th>{cells}</tr>')
    body = "\n".join(rows)
    of = f" of {_text(name)}" if name else ""
    return (
        f'<div class="scroll"><table class="cards" role="table"><caption>Keys of agent.toml{of} with their values at '
        'each relay.</caption>\n<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">setting</th>'
        f'{heads}</tr></thead>\n<tbody role="rowgroup">\n{body}\n</tbody></table></div>'
    )


def _setting(value: str | None) -> str:
    return "not set" if value is None else f'<code class="long">{_text(value)}</code>'
