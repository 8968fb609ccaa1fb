# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that people write, a damaged database, and the agent's own sockets."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

from relay_agent.accounts.store import AccountsError, parse_accounts, render
from relay_agent.config.load import ConfigError, parse_config
from relay_agent.control.protocol import FAILED, ControlError
from relay_agent.control.server import ControlServer
from relay_agent.control.store_commands import queue_handlers
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.directory import StoreDirectory
from relay_agent.queue.model import Counts, Envelope, Message, Recipient
from relay_agent.queue.pages import Pages
from relay_agent.queue.reader import Reader
from relay_agent.queue.salvage import open_database
from relay_agent.queue.schema import INSERT_MESSAGE, INSERT_RECIPIENT, StoreVersionError, checksum, connect, prepare
from relay_agent.queue.selection import Found, Group, OperatedStore, Selection
from relay_agent.supervisor.channel import Channel

from .event_loop import FuzzLoop
from .promises import in_words

__all__ = ["accounts", "channel", "config", "control", "database"]


def _told(problems: Sequence[object]) -> None:
    assert problems
    for problem in problems:
        in_words(problem)


def config(data: bytes) -> None:
    """A configuration: taken, or every problem told on a line of its own."""
    try:
        found = parse_config(data, "fuzz.toml")
    except ConfigError as error:
        _told(error.problems)
        return
    assert parse_config(data, "fuzz.toml") == found


def accounts(data: bytes) -> None:
    """A file of accounts: taken and written again without a difference, or every problem told."""
    try:
        found = parse_accounts(data, "fuzz.toml")
    except AccountsError as error:
        _told(error.problems)
        return
    assert parse_accounts(render(found).encode(), "fuzz.toml") == found


class _Store:
    """A queue with one message that nothing changes."""

    def __init__(self) -> None:
        self._message = Message(
            "01ARZ3NDEKTSV4RRFFQ69G5FAV", Envelope("a@alpha.test"), {0: Recipient("b@beta.test")}, MemoryBody(b""), 1, 2
        )

    async def counts(self) -> Counts:
        return Counts(1, 1, 0, 0)

    async def list(self, limit: int = 1000, offset: int = 0) -> list[Message]:
        assert 0 < limit < 2**31
        assert 0 <= offset < 2**31
        return [self._message][offset:]

    async def get(self, queue_id: str) -> Message | None:
        assert isinstance(queue_id, str)
        return self._message if queue_id == self._message.queue_id else None

    async def retry(self, queue_ids: Any) -> int:
        return 1

    async def find(self, selection: Any, cursor: Any) -> Found:
        assert selection.reason is None or isinstance(selection.reason, str)
        assert cursor is None or all(isinstance(each, int) for each in cursor)
        return Found([], None)

    async def groups(self, selection: Any, cursor: Any) -> tuple[Sequence[Group], None]:
        return [], None

    async def mark(self, recipients: Any, state: str) -> int:
        return 0

    async def record(self, updates: Any, bounces: Any) -> None:
        return None

    async def delete(self, queue_ids: Any) -> int:
        assert all(isinstance(each, str) for each in queue_ids)
        return len(queue_ids)


@cache
def _control() -> tuple[FuzzLoop, str]:
    loop = FuzzLoop()
    directory = tempfile.mkdtemp(prefix="postroad-fuzz-")
    path = Path(directory) / "control.sock"
    server = ControlServer(path, queue_handlers([cast(OperatedStore, _Store())]))
    loop.run(server.start())
    return loop, str(path)


def control(data: bytes) -> None:
    """A request at the control socket: one result or one error, and never the agent's own failure."""
    loop, path = _control()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            client.send(data)
        client.shutdown(socket.SHUT_WR)
        loop.settle()
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(65_536):
                said += part
    loop.settle()
    if b"\n" not in data:
        assert not said
        return
    if not said:  # cut because it sent more behind its request
        return
    *items, last = [json.loads(line) for line in said.splitlines()]
    assert all(item.keys() == {"item"} for item in items)
    assert len(last) == 1
    assert "result" in last or last["error"]["code"] != FAILED, last


def channel(data: bytes) -> None:
    """What one of the agent's processes says to another, should it have lost its mind: never the other's end."""
    loop = FuzzLoop()
    ours, theirs = socket.socketpair()
    closed: list[None] = []
    theirs.setblocking(False)

    def missing(_: dict[str, Any]) -> None:
        raise ControlError("not-found", "not here")

    async def slow(arguments: dict[str, Any]) -> Any:
        return arguments["x"]

    handlers: dict[str, Callable[[dict[str, Any]], Any]] = {"echo": lambda a: a, "missing": missing, "slow": slow}

    async def talk() -> None:
        side = Channel(ours, handlers, lambda: closed.append(None))
        asked = loop.create_task(side.call("status"))
        loop.call_later(1, theirs.send, data[:100_000])
        loop.call_later(2, theirs.shutdown, socket.SHUT_WR)
        with contextlib.suppress(ControlError, TimeoutError):
            await asked

    logging.disable(logging.CRITICAL)
    try:
        loop.run(talk())
        assert closed == [None]
        assert all(isinstance(json.loads(line), dict) for line in theirs.recv(1 << 20).splitlines())
    finally:
        logging.disable(logging.NOTSET)
        ours.close()
        theirs.close()
        loop.close()


@cache
def _database() -> bytes:
    """A store's file with some messages, one larger than a page."""
    with tempfile.TemporaryDirectory(prefix="postroad-fuzz-") as directory:
        path = Path(directory) / "queue.db"
        connection = connect(path)
        prepare(connection, path)
        for number in range(1, 9):
            body = b"x" * (20_000 if number == 3 else 50)
            connection.execute(
                f"{INSERT_MESSAGE} (?, ?, 1.0, 2.0, ?, ?, NULL, 'a@alpha.test', 'alice', NULL, ?)",
                (number, f"Q{number}", len(body), checksum(body), body),
            )
            connection.execute(
                f"{INSERT_RECIPIENT} (?, 0, 0, 0.0, 0, 'b@beta.test', NULL, NULL, NULL, NULL, NULL, 0)",
                (number,),
            )
        connection.execute("DELETE FROM messages WHERE seq = 2")
        connection.execute("DELETE FROM recipients WHERE message = 2")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return path.read_bytes()


def database(data: bytes) -> None:
    """A damaged database: three bytes of a place, one of a length, so many bytes there; again and again."""
    image = bytearray(_database())
    at = 0
    while at + 4 <= len(data):
        place = int.from_bytes(data[at : at + 3], "big") % len(image)
        size = data[at + 3]
        image[place : place + size] = data[at + 4 : at + 4 + size]
        at += 4 + size
    pages = Pages(bytes(image))
    count = 0
    for row in pages.rows([2, 3]):
        count += 1
        assert all(isinstance(value, int | float | str | bytes | None) for value in row.values)
        assert sum(len(value) for value in row.values if isinstance(value, bytes | str)) <= len(image) + 65_536
    assert count <= len(image)
    if len(data) % 4 == 0:  # a store for each is slow
        _opened(bytes(image))


def _opened(image: bytes) -> None:
    """A store with this database: what can be read of it is there, and every way of reading it ends well."""
    with tempfile.TemporaryDirectory(prefix="postroad-fuzz-") as place, contextlib.ExitStack() as opened:
        directory = StoreDirectory(Path(place))
        opened.callback(directory.close)
        directory.database.write_bytes(image)
        try:
            repair = open_database(directory)
        except StoreVersionError:
            return
        for notice in repair.notices:
            in_words(notice)
        reader = Reader(directory)
        opened.callback(reader.close)
        messages, _ = reader.list(100, 0)
        for one in messages:
            assert one.recipients
        due, broken = reader.due(1e9, 100, frozenset(), frozenset())
        assert len(due) + len(broken) <= len(messages)
        assert all(type(each.address) is str for one in due for each in one.recipients.values())
        found = reader.find(Selection(), None)
        assert len({each.queue_id for each in found.matches}) == len(messages)
        reader.groups(Selection(), None)
        reader.awaiting(lambda _: True)
        reader.never_due()
        reader.next_due(0.0)
