# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent suppression``: through the running agent or, without one, in the file."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from relay_agent.config.load import read_config
from relay_agent.config.schema import Config
from relay_agent.control.client import AgentNotRunningError, ControlClient
from relay_agent.control.protocol import FAILED, ControlError

from .terminal import complain, duration, escape, moment, print_json, table

__all__ = ["add", "import_report", "list_entries", "remove", "show"]

_CAUSES = {"bounce": "has bounced", "complaint": "has complained", "manual": "was put here"}


def list_entries(arguments: argparse.Namespace) -> int:
    """Print the entries."""
    config = read_config(arguments.config)
    entries = _call(config, "suppression.list", limit=arguments.limit, cause=arguments.cause)
    if arguments.json:
        print_json(entries)
        return 0
    now = time.time()
    rows = [
        (
            each["address"],
            each["owner"] or "(everybody)",
            each["cause"] if each["active"] else f"counting, {each['count']}",
            duration(now - each["last"]),
            each["reason"],
        )
        for each in entries
    ]
    print(
        table(("address", "for", "cause", "age", "reason"), rows, right=("age",)) if rows else "nobody is on the list"
    )
    _say_if_off(config)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Tell about one address."""
    config = read_config(arguments.config)
    entries = _call(config, "suppression.show", address=arguments.address)
    if arguments.json:
        print_json(entries)
        return 0
    for each in entries:
        whom = f"account {each['owner']}" if each["owner"] else "everybody"
        often = f", {each['count']} times since {moment(each['first'])}" if each["count"] > 1 else ""
        lines = [
            f"{each['address']} {_CAUSES[each['cause']]} on {moment(each['last'])}{often}: {each['reason']}",
            f"  holds for {whom}" + ("" if each["active"] else ", but it has not bounced often enough yet"),
        ]
        if each["sender"]:
            lines.append(f"  it was about mail from <{each['sender']}>")
        print(escape(lines[0]), *map(escape, lines[1:]), sep="\n")
    _say_if_off(config)
    return 0


def add(arguments: argparse.Namespace) -> int:
    """Put an address on the list."""
    config = read_config(arguments.config)
    result = _call(
        config,
        "suppression.add",
        address=arguments.address,
        account=(arguments.account or "").lower(),
        reason=arguments.reason,
    )
    if arguments.json:
        print_json(result["entry"])
    else:
        print(escape(f"{result['entry']['address']} is on the list"))
        _say_if_off(config)
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Take an address off the list."""
    config = read_config(arguments.config)
    wanted = {"account": arguments.account.lower()} if arguments.account else {}
    result = _call(config, "suppression.remove", address=arguments.address, **wanted)
    if arguments.json:
        print_json({"address": arguments.address, "removed": result["removed"]})
    else:
        print(escape(f"{arguments.address} may be written to again"))
    return 0


def import_report(arguments: argparse.Namespace) -> int:
    """Take in a complaint."""
    from relay_agent.accounts.store import AccountsError, load_accounts
    from relay_agent.suppression.complaint import complaint
    from relay_agent.suppression.report import LARGEST, ReportError, read_report

    config = read_config(arguments.config)
    if arguments.file == "-":
        content = sys.stdin.buffer.read(LARGEST)
    else:
        with Path(arguments.file).open("rb") as file:
            content = file.read(LARGEST)
    try:
        accounts = load_accounts(config.accounts.file)
    except AccountsError:
        accounts = {}  # without accounts, or not for this user: it is matched by the trace alone
    try:
        report = read_report(content)
        found = complaint(report, config.hostname, accounts) if report.is_complaint else None
    except ReportError as error:
        complain(f"{'standard input' if arguments.file == '-' else arguments.file} {error}")
        return 1
    if found is None:
        result: dict[str, Any] = {"kind": report.kind, "entries": []}
    else:
        answer = _call(config, "suppression.report", **found.arguments())
        result = {"kind": report.kind, "entries": answer["entries"]}
    if arguments.json:
        print_json(result)
    elif found is None:
        print(escape(f"a report of {report.kind}: nobody asks not to be written to"))
    else:
        print(escape(f"on the list: {', '.join(found.recipients)}"))
        _say_if_off(config)
    return 0


def _say_if_off(config: Config) -> None:
    if config.suppression.mode == "off":
        complain('suppression.mode is "off": nobody is refused')


def _call(config: Config, command: str, **arguments: Any) -> Any:
    """The result of a command, a list where it answers with many. Raises ControlError and OSError."""
    client = ControlClient(config.control.socket)
    try:
        if command == "suppression.list":
            return list(client.stream(command, **arguments))
        return client.call(command, **arguments)
    except AgentNotRunningError:
        return asyncio.run(_without_agent(config, command, arguments))


async def _without_agent(config: Config, command: str, arguments: dict[str, Any]) -> Any:
    from relay_agent.control.suppression_view import suppression_handlers
    from relay_agent.queue.directory import StoreLockedError
    from relay_agent.queue.lock import QueueLock
    from relay_agent.suppression.book import Book

    try:
        lock = QueueLock(config.queue.directory)
    except StoreLockedError as error:
        raise ControlError(FAILED, str(error)) from None
    book = Book(config)
    try:
        book.load(time.time())
        result = await suppression_handlers(book)[command](arguments)
        if isinstance(result, AsyncIterator):
            return [item async for item in result]
        if "changes" in result:
            book.sync()
            _give_to_owner(book.path)
        return result
    finally:
        book.close()
        lock.close()


def _give_to_owner(path: Path) -> None:
    """Root has written what is the agent's."""
    owner = path.parent.stat()
    if os.geteuid() == 0 and path.exists():
        os.chown(path, owner.st_uid, owner.st_gid)
