# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent queue hold``, ``release``, ``retry``, ``bounce`` and ``delete``: changing the mail that waits."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .asking import Asking
from .selected import many, selection, watched
from .terminal import complain, print_json

__all__ = ["bounce", "delete", "hold", "release", "retry"]


def hold(arguments: argparse.Namespace) -> int:
    """Hold recipients until released."""
    return _changed(arguments, "hold", "held")


def release(arguments: argparse.Namespace) -> int:
    """Release held recipients."""
    return _changed(arguments, "release", "released, due now")


def retry(arguments: argparse.Namespace) -> int:
    """Make recipients due now."""
    chosen = selection(arguments)
    if chosen.keys() != {"ids"}:
        return _changed(arguments, "retry", "due now")
    result = Asking(arguments.config).call("queue.retry", ids=arguments.ids)
    if arguments.json:
        print_json(result)
    elif result["recipients"] or not result["unknown"]:
        print(f"{many(result['recipients'], 'recipient')} due now")
    return _unknown(result)


def delete(arguments: argparse.Namespace) -> int:
    """Remove mail without a bounce."""
    chosen = selection(arguments)
    asking = Asking(arguments.config)
    if not _confirmed(arguments, asking, chosen, "delete", "The senders are not told."):
        return 1
    if arguments.ids and not chosen.keys() - {"ids"}:
        result = asking.call("queue.delete", ids=arguments.ids)
    else:
        result = _run(asking, chosen, "delete")
    if arguments.json:
        print_json(result)
    elif result["messages"] or not result["unknown"]:
        print(f"{many(result['messages'], 'message')} deleted")
    return _unknown(result)


def bounce(arguments: argparse.Namespace) -> int:
    """Give mail back to its senders."""
    chosen = selection(arguments)
    asking = Asking(arguments.config)
    words = " ".join(arguments.because.split())
    if not _confirmed(arguments, asking, chosen, "bounce", "Each sender gets a message that says so."):
        return 1
    result = _run(asking, chosen, "bounce", reason=words)
    if arguments.json:
        print_json(result)
    elif result["messages"] or not result["unknown"]:
        print(f"{_counted(result)} given up; their senders are told")
    return _unknown(result)


def _changed(arguments: argparse.Namespace, action: str, done: str) -> int:
    result = _run(Asking(arguments.config), selection(arguments), action)
    if arguments.json:
        print_json(result)
    elif result["messages"] or not result["unknown"]:
        print(f"{_counted(result)} {done}")
    return _unknown(result)


def _confirmed(
    arguments: argparse.Namespace, asking: Asking, chosen: dict[str, Any], action: str, consequence: str
) -> bool:
    """Whether to go on: without a terminal nobody can be asked, and the arguments have to be enough."""
    if arguments.yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    result = _run(asking, chosen, "count")
    if not result["messages"]:
        return True
    sys.stderr.write(f"{_counted(result)} to {action}. {consequence} Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    complain("nothing was changed")
    return False


def _run(asking: Asking, chosen: dict[str, Any], action: str, **more: Any) -> dict[str, Any]:
    items = asking.stream("queue.change", action=action, selection=chosen, **more)
    result: dict[str, Any] = {"messages": 0, "recipients": 0, "busy": 0, "unknown": []}
    for item in watched(items, action):
        result = item["done"]
    return result


def _counted(result: dict[str, Any]) -> str:
    return f"{many(result['messages'], 'message')} ({many(result['recipients'], 'recipient')})"


def _unknown(result: dict[str, Any]) -> int:
    for queue_id in result["unknown"]:
        complain(f"{queue_id} is not in the queue")
    if result.get("busy"):
        complain(f"{many(result['busy'], 'message')} left alone, being delivered just now")
    return 1 if result["unknown"] or result.get("busy") else 0
