# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent status``: what the running agent is doing."""

from __future__ import annotations

import argparse
from typing import Any

from relay_agent.config.load import read_config
from relay_agent.control.client import AgentNotRunningError, ControlClient

from .terminal import duration, escape, print_json, size, style, table

__all__ = ["run"]


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
    if "accounts" in status:
        lines.append(f"accounts: {status['accounts']}")
    for heading, values in (("since the start", status["counters"]), ("delivery", status["delivery"])):
        if values:
            lines += ["", style(heading, "bold"), *_values(values)]
    return "\n".join(lines)


def _values(values: dict[str, Any], indent: str = "  ") -> list[str]:
    """Names and values, one a line; what is nested is indented."""
    lines: list[str] = []
    for name, value in values.items():
        label = indent + escape(str(name)).replace("_", " ")
        if isinstance(value, dict):
            lines += [f"{label}:" if value else f"{label}: none", *_values(value, indent + "  ")]
        elif isinstance(value, list):
            lines.append(f"{label}: {escape(', '.join(map(str, value))) or 'none'}")
        elif isinstance(value, float):
            lines.append(f"{label}: {value:.3g}")
        else:
            lines.append(f"{label}: {escape(str(value))}")
    return lines


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
