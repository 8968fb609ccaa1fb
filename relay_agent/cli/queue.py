# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent queue``: the mail that waits, through the running agent or, without one, from the disk."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from relay_agent.config.load import read_config
from relay_agent.config.schema import Config
from relay_agent.control.client import AgentNotRunningError, ControlClient
from relay_agent.control.protocol import FAILED, ControlError

from .story import tell
from .terminal import complain, duration, print_json, size, table

__all__ = ["delete", "list_messages", "retry", "show"]

_PATIENCE = 10.0  # seconds that workers of an agent that was killed take to end


def list_messages(arguments: argparse.Namespace) -> int:
    """Print the messages in the queue."""
    messages = _stream(arguments, "queue.list", limit=arguments.limit)
    if arguments.json:
        _print_json_list(messages)
        return 0
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
                    _next(recipient, now),
                    _reason(recipient),
                )
            )
    if not rows:
        print("the queue is empty")
        return 0
    heads = ("id", "age", "size", "sender", "recipient", "tries", "next try", "last reason")
    print(table(heads, rows, right=("age", "size", "tries", "next try")))
    if arguments.limit and count == arguments.limit:
        print(f"(the first {count} messages; --limit 0 shows all)")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Tell one message's story."""
    message = _call(arguments, "queue.show", id=arguments.id)
    if arguments.json:
        print_json(message)
    else:
        print(tell(message, time.time()))
    return 0


def retry(arguments: argparse.Namespace) -> int:
    """Make messages due now."""
    wanted: dict[str, Any] = {"all": True} if arguments.all else {"ids": arguments.ids}
    result = _call(arguments, "queue.retry", **wanted)
    count = result["recipients"]
    if arguments.json:
        print_json(result)
    elif count or not result["unknown"]:
        print(f"{count} recipient{'' if count == 1 else 's'} due now")
    return _unknown(result)


def delete(arguments: argparse.Namespace) -> int:
    """Remove messages without a bounce."""
    result = _call(arguments, "queue.delete", ids=arguments.ids)
    count = result["messages"]
    if arguments.json:
        print_json(result)
    elif count:
        print(f"{count} message{'' if count == 1 else 's'} deleted")
    return _unknown(result)


def _unknown(result: dict[str, Any]) -> int:
    for queue_id in result["unknown"]:
        complain(f"{queue_id} is not in the queue")
    return 1 if result["unknown"] else 0


def _next(recipient: dict[str, Any], now: float) -> str:
    if recipient["state"] == "held":
        return "held"
    wait = recipient["next_attempt"] - now
    return "now" if wait <= 0 else f"in {duration(wait)}"


def _reason(recipient: dict[str, Any]) -> str:
    reply: str = recipient["last_reply"]
    text = f"{recipient['last_host']}: {reply}" if reply and recipient["last_host"] else reply
    return text if len(text) <= 100 else text[:97] + "..."


def _print_json_list(items: Iterator[dict[str, Any]]) -> None:
    """A JSON list, printed as it arrives: a million messages are not collected first."""
    import json

    separator = "[\n"
    for item in items:
        print(separator + json.dumps(item, ensure_ascii=True), end="")
        separator = ",\n"
    print("[]" if separator == "[\n" else "\n]")


def _stream(arguments: argparse.Namespace, command: str, **parameters: Any) -> Iterator[dict[str, Any]]:
    config = read_config(arguments.config)
    client = ControlClient(config.control.socket, timeout=60.0)
    items = client.stream(command, **parameters)
    try:
        first = next(items, None)
    except AgentNotRunningError:
        yield from _offline(config, command, parameters)
        return
    if first is not None:
        yield first
    yield from items


def _call(arguments: argparse.Namespace, command: str, **parameters: Any) -> Any:
    config = read_config(arguments.config)
    try:
        return ControlClient(config.control.socket, timeout=300.0).call(command, **parameters)
    except AgentNotRunningError:
        return _offline(config, command, parameters)


def _offline(config: Config, command: str, parameters: dict[str, Any]) -> Any:
    """Run a command on the queue itself: the same code as the agent's, in this process."""
    # Imported as whoever started us: the queue's owner may not be able to read this Python.
    from relay_agent.control.handlers import queue_handlers
    from relay_agent.queue.directory import StoreLockedError
    from relay_agent.queue.holdings import QueueLock, open_all
    from relay_agent.queue.model import QueueDamagedError, QueueFullError
    from relay_agent.queue.schema import StoreVersionError

    async def run() -> Any:
        stores = await asyncio.to_thread(open_all, config.queue.directory, _PATIENCE)
        try:
            result = await queue_handlers(stores)[command](parameters)
            return iter([item async for item in result]) if isinstance(result, AsyncIterator) else result
        finally:
            for store in stores:
                await store.close()

    _become_owner(config.queue.directory)
    try:
        lock = QueueLock(config.queue.directory)
        try:
            return asyncio.run(run())
        finally:
            lock.close()
    except StoreLockedError as error:
        message = f"{error}, but no agent answers at {config.control.socket}; it may be starting or stopping"
        raise ControlError(FAILED, message) from error
    except (QueueDamagedError, QueueFullError, StoreVersionError) as error:
        raise ControlError(FAILED, str(error)) from error


def _become_owner(directory: Path) -> None:
    """Give up root for the queue's owner: files that root makes in the queue would stop the agent.

    Raises ``FileNotFoundError`` when there is no queue, rather than make one as a side effect of looking.
    """
    found = directory.stat()
    if os.geteuid() == 0 and found.st_uid != 0:
        os.setgroups([found.st_gid])
        os.setgid(found.st_gid)
        os.setuid(found.st_uid)
