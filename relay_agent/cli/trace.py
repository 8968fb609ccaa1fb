# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent trace``: what became of a message, also after it left the queue."""

from __future__ import annotations

import argparse
import time
from typing import Any

from relay_agent.control.protocol import NOT_FOUND, ControlError

from .asking import Asking
from .event_story import ending, events_told
from .selected import many, seconds, watched
from .terminal import complain, duration, escape, print_json_list, style

__all__ = ["trace"]

_MOST = 1000


def trace(arguments: argparse.Namespace) -> int:
    """Tell of the messages that fit; 1 when there are none."""
    wanted = {
        key: value
        for key, value in (
            ("anything", arguments.what),
            ("queue_id", arguments.id),
            ("message_id", arguments.message_id),
            ("sender", arguments.sender),
            ("recipient", arguments.recipient),
        )
        if value
    }
    since = 0.0 if arguments.since is None else time.time() - seconds("--since", arguments.since)
    asking = Asking(arguments.config)
    limit = min(arguments.limit or _MOST, _MOST)
    found = list(watched(asking.stream("history.find", since=since, limit=limit, **wanted), "reading the history"))
    messages = [{**each, "queued": _queued(asking, each["id"])} for each in found] or _only_queued(asking, wanted)
    messages.sort(key=lambda each: str(each["id"]))
    if arguments.json:
        print_json_list(iter(messages))
    elif messages:
        print("\n\n".join(_told(each) for each in messages))
    if not messages:
        searched = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in wanted.items())
        complain(f"nothing found for {searched}: looked in the queue and {_extent(asking, arguments.since)}")
        return 1
    if len(found) >= arguments.limit > 0 and not arguments.json:
        print(f"\n(the newest {many(len(found), 'message')}; --limit shows more)")
    return 0


def _told(message: dict[str, Any]) -> str:
    lines = [style(f"Message {escape(message['id'])}", "bold")]
    lines += [f"  {line}" for line in events_told(message["events"])]
    return "\n".join([*lines, f"  {ending(message['events'], message['queued'], time.time())}"])


def _extent(asking: Asking, since: str | None) -> str:
    history = asking.config.history
    if not history.enabled:
        return "nowhere else: [history] is off"
    if since is not None:
        return f"the history of the last {since}"
    return f"the history, which is kept for {duration(history.keep)}"


def _queued(asking: Asking, queue_id: str) -> dict[str, Any] | None:
    try:
        message: dict[str, Any] = asking.call("queue.show", id=queue_id)
    except ControlError as error:
        if error.code != NOT_FOUND:
            raise
        return None
    return message


def _only_queued(asking: Asking, wanted: dict[str, str]) -> list[dict[str, Any]]:
    """Messages that the history knows nothing of (it is off, or lost a moment) but the queue does."""
    searches = []
    if "anything" in wanted:
        text = wanted["anything"]
        address = text.removeprefix("<").removesuffix(">")
        searches = [{"ids": [text]}, {"sender": address}, {"recipient": address}]
    elif "message_id" not in wanted:
        chosen: dict[str, Any] = {key: wanted[key] for key in ("sender", "recipient") if key in wanted}
        searches = [{**chosen, "ids": [wanted["queue_id"]]} if "queue_id" in wanted else chosen]
    messages: dict[str, dict[str, Any]] = {}
    for search in searches:
        for message in watched(asking.stream("queue.matches", selection=search, limit=_MOST), "reading the queue"):
            messages[message["id"]] = {"id": message["id"], "events": [], "queued": message}
    return list(messages.values())
