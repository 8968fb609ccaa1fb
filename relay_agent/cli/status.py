# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent status``: what the running agent is doing."""

from __future__ import annotations

import argparse
from typing import Any

from relay_agent.config.load import read_config
from relay_agent.control.client import AgentNotRunningError, ControlClient

from .terminal import duration, escape, moment, print_json, size, style, table

__all__ = ["run"]

_MOST_DESTINATIONS = 20


def run(arguments: argparse.Namespace) -> int:
    """0 when an agent runs, 1 when none does."""
    config = read_config(arguments.config)
    try:
        status = ControlClient(config.control.socket, timeout=30.0).call("status")
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
    return 0


def _in_words(status: dict[str, Any]) -> str:
    lines = [
        f"{style(escape(status['hostname']), 'bold')}: {style('running', 'green')} for {duration(status['uptime'])}, "
        f"release {escape(status['version'])}, process {status['pid']}"
    ]
    rows = [
        (listener["address"] or "every address", str(listener["port"]), listener["tls"], listener["auth"])
        for listener in status["listeners"]
    ]
    lines += ["", table(("listens on", "port", "TLS", "sign-in"), rows, right=("port",)), ""]
    queue = status["queue"]
    lines.append(
        f"queue: {_many(queue['messages'], 'message')} for {_many(queue['recipients'], 'recipient')}, "
        f"{size(queue['bytes'])}" + (f", {queue['held']} held" if queue["held"] else "")
    )
    lines.append(f"sessions: {status['sessions']}")
    workers = status.get("workers", [])
    if workers:
        lines += [f"workers: {len(workers)}" + (", a reload is under way" if status.get("reloading") else "")]
        lines += ["", _workers(workers), ""]
    if "accounts" in status:
        lines.append(f"accounts: {status['accounts']}")
    if status.get("suppressed"):
        lines.append(f"suppressed: {_many(status['suppressed'], 'recipient')}")
    lines += _reputation(status.get("reputation"))
    counters = dict(status["counters"])
    spent = counters.pop("commit_microseconds", None)
    if spent and counters.get("accepted"):
        counters["on average to the disk in"] = f"{spent / counters['accepted'] / 1000:.1f} ms"
    if counters:
        lines += ["", style("since the start", "bold"), *_values(counters)]
    delivery = dict(status["delivery"])
    destinations = delivery.pop("destinations", [])
    sites = delivery.pop("sites", {})
    if delivery:
        lines += ["", style("delivery now", "bold"), *_values(delivery)]
    if sites:
        lines += ["", *(_site(domain, count) for domain, count in sorted(sites.items()))]
    if destinations:
        lines += ["", _destinations(destinations)]
    return "\n".join(lines)


def _site(domain: str, count: int) -> str:
    """What is kept for a site."""
    return f"{_many(count, 'message')} wait{'s' if count == 1 else ''} until the site of {escape(domain)} calls in"


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


def _destinations(destinations: list[dict[str, Any]]) -> str:
    """Where mail is on its way to, those with the longest line first."""
    rows = [
        (
            each["name"],
            str(each["waiting"]),
            str(each["active"]),
            f"in {duration(each['blocked_for'])}" if each["blocked_for"] > 0 else "",
            each["last_error"] or "",
        )
        for each in destinations[:_MOST_DESTINATIONS]
    ]
    text = table(("destination", "waiting", "active", "tried again", "last trouble"), rows, right=("waiting", "active"))
    more = len(destinations) - len(rows)
    return f"{text}\n({more} more; --json shows all)" if more > 0 else text


def _values(values: dict[str, Any]) -> list[str]:
    """Names and values, one a line."""
    return [f"  {escape(str(name)).replace('_', ' ')}: {escape(_shown(value))}" for name, value in values.items()]


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
