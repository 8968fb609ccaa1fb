# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent queue list`` and ``show``: the mail that waits."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from relay_agent.control.protocol import FAILED, NOT_FOUND, UNKNOWN_COMMAND, ControlError

from .asking import Asking
from .event_story import events_told
from .selected import many, selection, watched
from .story import tell, waits_for_call
from .terminal import complain, duration, print_json, print_json_list, size, table

__all__ = ["list_messages", "show"]

_AT_A_CALL = "at a call"  # of the site that it waits for


def list_messages(arguments: argparse.Namespace) -> int:
    """Print what waits: groups, or each message."""
    asking, chosen = Asking(arguments.config), selection(arguments)
    if arguments.groups or not (arguments.each or arguments.ids or arguments.json):
        return _list_groups(arguments, asking, chosen)
    limit = arguments.limit
    if chosen:
        messages = asking.stream("queue.matches", selection=chosen, limit=limit)
    else:
        messages = asking.stream("queue.list", limit=limit)
    seen: set[str] = set()
    messages = _noted(watched(messages, "reading the queue", prints=arguments.json), seen)
    if arguments.json:
        print_json_list(messages)
    else:
        _print_messages(messages, limit, bool(chosen))
    missing = [each.upper() for each in arguments.ids if each.upper() not in seen] if chosen.keys() == {"ids"} else []
    for queue_id in missing:
        complain(f"{queue_id} is not in the queue")
    return 1 if missing else 0


def _noted(messages: Iterator[dict[str, Any]], seen: set[str]) -> Iterator[dict[str, Any]]:
    for message in messages:
        seen.add(message["id"])
        yield message


def _list_groups(arguments: argparse.Namespace, asking: Asking, chosen: dict[str, Any]) -> int:
    items = watched(asking.stream("queue.groups", selection=chosen), "reading the queue")
    groups = [item["group"] for item in items]
    shown = groups[: arguments.limit or None]
    if arguments.json:
        print_json_list(iter(shown))
        return 0
    if not groups:
        print(_nothing(bool(chosen)))
        return 0
    now = time.time()
    rows = [
        (
            group["destination"],
            f"{group['recipients']:,}",
            f"{group['held']:,}" if group["held"] else "",
            duration(now - group["oldest"]),
            _next_of_group(group, now),
            group["reason"],
        )
        for group in shown
    ]
    heads = ("destination", "waiting", "held", "oldest", "next try", "reason")
    print(table(heads, rows, right=("waiting", "held", "oldest", "next try")))
    recipients = sum(group["recipients"] for group in groups)
    held = sum(group["held"] for group in groups)
    oldest = duration(now - min(group["oldest"] for group in groups))
    print(
        f"\n{many(recipients, 'recipient')} in {many(len(groups), 'group')}"
        + (f", {held:,} held" if held else "")
        + f"; the oldest came {oldest} ago. `queue list --each` has the messages."
    )
    if len(shown) < len(groups):
        print(f"(the largest {len(shown):,} groups; --limit 0 shows all)")
    return 0


def _print_messages(messages: Iterator[dict[str, Any]], limit: int, chosen: bool) -> None:
    now = time.time()
    rows = []
    count = 0
    for message in messages:
        count += 1
        for index, recipient in enumerate(message["recipients"]):
            first = index == 0
            rows.append(
                (
                    message["id"] if first else "",
                    duration(now - message["created"]) if first else "",
                    size(message["size"]) if first else "",
                    f"<{message['sender']}>" if first else "",
                    recipient["address"],
                    str(recipient["attempts"]),
                    _next_of(recipient, now),
                    _reason(recipient),
                )
            )
    if not rows:
        print(_nothing(chosen))
        return
    heads = ("id", "age", "size", "sender", "recipient", "tries", "next try", "last reason")
    print(table(heads, rows, right=("age", "size", "tries", "next try")))
    if limit and count == limit:
        print(f"(the first {count} messages; --limit 0 shows all)")


def show(arguments: argparse.Namespace) -> int:
    """Tell one message's story, from the queue and the history."""
    asking = Asking(arguments.config)
    message: dict[str, Any] | None = None
    missing: ControlError | None = None
    try:
        message = asking.call("queue.show", id=arguments.id)
    except ControlError as error:
        if error.code != NOT_FOUND:
            raise
        missing = error
    try:
        found: list[dict[str, Any]] = list(
            islice(watched(asking.stream("history.find", queue_id=arguments.id), "reading the history"), 50)
        )
    except ControlError as error:
        if error.code not in (FAILED, UNKNOWN_COMMAND):
            raise
        complain(f"the history cannot be read: {error}")
        found = []
    wanted = arguments.id.upper()
    events: list[dict[str, Any]] = next((each["events"] for each in found if each["id"] == wanted), [])
    if message is None and not events:
        assert missing is not None
        raise missing
    if arguments.json:
        print_json({**(message or {"id": wanted, "recipients": []}), "events": events})
        return 0
    if message is not None:
        print(tell(message, time.time()))
    else:
        print(f"Message {wanted} has left the queue.")
    if events:
        print("\nWhat happened:")
        print("\n".join(f"  {line}" for line in events_told(events)))
    return 0


def _nothing(chosen: bool) -> str:
    return "nothing in the queue fits" if chosen else "the queue is empty"


def _next_of_group(group: dict[str, Any], now: float) -> str:
    if group["next_attempt"] is not None:
        return _next(group["next_attempt"], now)
    return "held" if group["held"] == group["recipients"] else _AT_A_CALL


def _next_of(recipient: dict[str, Any], now: float) -> str:
    if recipient["state"] == "held":
        return "held"
    return _AT_A_CALL if waits_for_call(recipient, now) else _next(recipient["next_attempt"], now)


def _next(when: float, now: float) -> str:
    return "now" if when <= now else f"in {duration(when - now)}"


def _reason(recipient: dict[str, Any]) -> str:
    reply: str = recipient["last_reply"]
    text = f"{recipient['last_host']}: {reply}" if reply and recipient["last_host"] else reply
    return text if len(text) <= 100 else text[:97] + "..."
