# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent status``: what the running agent is doing."""

from __future__ import annotations

import argparse
import time
from typing import Any

from relay_agent.config.load import read_config
from relay_agent.control.client import AgentNotRunningError, ControlClient

from .terminal import duration, escape, moment, print_json, size, style, table

__all__ = ["run"]

_MOST_DESTINATIONS = 20


def run(arguments: argparse.Namespace) -> int:
    """0 when an agent runs, 1 when none does or when it cannot open a part of the queue."""
    config = read_config(arguments.config)
    try:
        status = ControlClient(config.control.socket, timeout=30.0).call("status", partly=not arguments.json)
    except AgentNotRunningError as error:
        if arguments.json:
            print_json({"running": False})
        else:
            print(f"{style('not running', 'red')}: {escape(str(error))}")
        return 1
    if arguments.json:
        print_json({"running": True, **status})
    else:
        print(_in_words(status))
    return 1 if status.get("unopened") else 0


def _in_words(status: dict[str, Any]) -> str:
    lines = [
        f"{style(escape(status['hostname']), 'bold')}: {style('running', 'green')} for {duration(status['uptime'])}, "
        f"release {escape(status['version'])}, process {status['pid']}"
    ]
    rows = [
        (listener["address"] or "every address", str(listener["port"]), listener["tls"], listener["auth"])
        for listener in status["listeners"]
    ]
    if (drained := status.get("drained")) is not None:
        since = f" since {moment(drained['since'])}" if drained["since"] else ""
        because = f" ({escape(drained['because'])})" if drained["because"] else ""
        lines += ["", style(f"drained{since}: takes no mail, carries on what is queued{because}", "yellow"), ""]
    else:
        lines += ["", table(("listens on", "port", "TLS", "sign-in"), rows, right=("port",)), ""]
    queue = status["queue"]
    lines.append(
        ("queue, as far as it is open: " if status.get("unopened") else "queue: ")
        + f"{_many(queue['messages'], 'message')} for {_many(queue['recipients'], 'recipient')}, "
        f"{size(queue['bytes'])}" + (f", {queue['held']} held" if queue["held"] else "")
    )
    lines += [style(escape(problem), "red") for problem in status.get("unopened", ())]
    lines.append(f"sessions: {status['sessions']}")
    workers = status.get("workers", [])
    if workers:
        lines += [f"workers: {len(workers)}" + (", a reload is under way" if status.get("reloading") else "")]
        lines += ["", _workers(workers), ""]
    if status.get("waiting"):
        lines.append(style(f"waits, and starts a worker once that has passed: {escape(status['waiting'])}", "red"))
    if "accounts" in status:
        lines.append(f"accounts: {status['accounts']}")
    if status.get("suppressed"):
        lines.append(f"suppressed: {_many(status['suppressed'], 'recipient')}")
    lines += _certificate(status.get("certificate"))
    lines += _reputation(status.get("reputation"))
    counters = dict(status["counters"])
    spent = counters.pop("commit_microseconds", None)
    if spent and counters.get("accepted"):
        counters["on average to the disk in"] = f"{spent / counters['accepted'] / 1000:.1f} ms"
    if counters:
        lines += ["", style("since the start", "bold"), *_values(counters)]
    delivery = dict(status["delivery"])
    destinations, upstreams = delivery.pop("destinations", []), delivery.pop("upstreams", [])
    port25 = delivery.pop("port25", None)
    sites = delivery.pop("sites", {})
    delivery.update({f"destinations {key}": value for key, value in delivery.pop("destinations_by_state", {}).items()})
    quarantined = delivery.pop("quarantined", [])
    if delivery:
        lines += ["", style("delivery now", "bold"), *_values(delivery)]
    if sites:
        lines += ["", *(_site(domain, count) for domain, count in sorted(sites.items()))]
    lines += _port25(port25)
    if upstreams:
        lines += ["", _upstreams(upstreams)]
    if destinations:
        lines += ["", _destinations(destinations)]
    if quarantined:
        lines += ["", style("held, because delivery failed at them by a fault of the agent's own", "bold")]
        lines += [f"  {escape(each['id'])}: {escape(each['reason'])}" for each in quarantined]
    return "\n".join(lines)


def _site(domain: str, count: int) -> str:
    """What is kept for a site."""
    return f"{_many(count, 'message')} wait{'s' if count == 1 else ''} until the site of {escape(domain)} calls in"


def _certificate(certificate: dict[str, Any] | None) -> list[str]:
    """How long the certificate holds, and what keeps it from being renewed."""
    if certificate is None:
        return []
    left = certificate["expires"] - time.time()
    if left <= 0:
        line = style(f"certificate: ended {moment(certificate['expires'])}; mail programs refuse it", "red")
    else:
        line = f"certificate: holds for {duration(left)}"
        line = style(f"{line}, until {moment(certificate['expires'])}", "yellow") if certificate["soon"] else line
    lines = [line]
    renewal = certificate.get("renewal")
    if renewal and renewal["problem"]:
        since = moment(renewal["failing"])
        lines.append(f"  {style('renewal fails', 'red')} since {since}: {escape(renewal['problem'])}")
    return lines


def _reputation(reputation: dict[str, Any] | None) -> list[str]:
    """What the DNS block lists say; nothing where none is asked."""
    if reputation is None:
        return []
    addresses, listings = reputation["addresses"], reputation["listings"]
    if not listings:
        why = "not asked yet" if addresses is None else "no public address of ours to ask for; set reputation.addresses"
        return [f"block lists: {why}"]
    clean = sum(each["listed"] is False for each in listings)
    lines = [f"block lists: {clean} of {len(listings)} answers say not listed"]
    for each in listings:
        what = escape(f"  {each['address']} on {each['list']}: ")
        if each["listed"]:
            since = moment(each["since"])
            lines.append(
                f"{what}{style('listed', 'red')} since {since}"
                + escape(f", {each['reason']}" if each["reason"] else "")
            )
        elif each["listed"] is None:
            lines.append(f"{what}{style('no usable answer', 'yellow')}: {escape(each['problem'])}")
    return lines


def _workers(workers: list[dict[str, Any]]) -> str:
    """The processes that take and deliver mail."""
    rows = [
        (
            str(each["pid"]),
            each["state"],
            duration(each["uptime"]),
            str(each["sessions"]),
            str(each["accepted"]),
            ", ".join(map(str, each["stores"])),
        )
        for each in workers
    ]
    heads = ("process", "state", "for", "sessions", "accepted", "stores")
    return table(heads, rows, right=("process", "for", "sessions", "accepted"))


def _port25(look: dict[str, Any] | None) -> list[str]:
    """Whether mail can get out to MX hosts at all, where somebody looks."""
    if look is None or look["state"] in ("off", "unknown"):
        return []
    if look["state"] == "open":
        return ["  port 25 to the outside: open"]
    what = (
        f"mail for MX hosts goes through {escape(look['instead'])}"
        if look["instead"]
        else ("mail for MX hosts waits; have the provider open it, or set delivery.fallback_via")
    )
    return [f"  port 25 to the outside: {style('closed', 'red')}; {what}"]


_STATES = {"well": "works", "rests": "tried last", "due": "to be tried again", "probed": "being tried again"}


def _upstreams(upstreams: list[dict[str, Any]]) -> str:
    """How the upstream relays behave; a trouble's cause and words where there is one."""
    rows = [
        (
            each["name"],
            each["user"] or "",
            _STATES.get(each["state"], each["state"]),
            f"in {duration(each['rests_for'])}" if each.get("rests_for") else "",
            each.get("cause", "").replace("_", "-"),
            each.get("last_error", ""),
        )
        for each in upstreams
    ]
    return table(("upstream relay", "user", "state", "tried again", "trouble", "in its words"), rows)


def _destinations(destinations: list[dict[str, Any]]) -> str:
    """Where mail is on its way to, those with the longest line first."""
    rows = [
        (
            each["name"],
            str(each["waiting"]),
            f"{each['active']} of {each['window']}" if "window" in each else str(each["active"]),
            f"{each['messages_per_minute']:g}/min" if each.get("messages_per_minute") else "",
            f"in {duration(each['blocked_for'])}" if each["blocked_for"] > 0 else "",
            each["last_error"] or "",
        )
        for each in destinations[:_MOST_DESTINATIONS]
    ]
    heads = ("destination", "waiting", "connections", "rate", "tried again", "last trouble")
    text = table(heads, rows, right=("waiting", "connections"))
    more = len(destinations) - len(rows)
    return f"{text}\n({more} more; --json shows all)" if more > 0 else text


def _values(values: dict[str, Any]) -> list[str]:
    """Names and values, one a line."""
    return [f"  {escape(str(name)).replace('_', ' ')}: {escape(_shown(value))}" for name, value in values.items()]


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
