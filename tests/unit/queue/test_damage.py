# SPDX-License-Identifier: GPL-3.0-or-later
"""One cell of the database that holds what nobody wrote there: it costs one message its delivery, and that is told."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from relay_agent.queue.body import MemoryBody
from relay_agent.queue.damage import (
    LATEST,
)
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import Envelope, Message, Recipient, RecipientState, new_queue_id
from relay_agent.queue.selection import Selection

MESSAGES = 12
SPOILED = 5  # the number of the message that is damaged

RAW = b"\xb7\xff"  # no UTF-8

#: What a cell can come to hold: each type of SQLite's, and of each the values at the ends.
VALUES: dict[str, str] = {
    "nothing": "NULL",
    "zero": "0",
    "two": "2",
    "minus one": "-1",
    "least": "-9223372036854775808",
    "most": "9223372036854775807",
    "small real": "-1e300",
    "huge real": "1e300",
    "infinite": "9e999",
    "half": "0.5",
    "empty text": "''",
    "text": "'what''s this'",
    "not UTF-8": "CAST(X'62b7ff40632e74657374' AS TEXT)",
    "no JSON": """'{"NOTIFY":"FAILURE"y'""",
    "JSON of a list": "'[1]'",
    "JSON of numbers": """'{"NOTIFY":1}'""",
    "deep JSON": f"'{'[' * 100_000}'",
    "line ends": "'a@b.test' || char(13, 10) || 'RCPT TO:<x@y>'",
    "blob": "X'00ff'",
    "empty blob": "X''",
}
#: Of the store that is damaged: queue id, and how many recipients.
PRISTINE: dict[str, int] = {}
COLUMNS = [
    *(("messages", column) for column in (
        "queue_id", "created", "expires", "size", "checksum", "file_offset", "reverse_path", "account", "options",
        "content",
    )),
    *(("recipients", column) for column in (
        "message", "number", "state", "next_attempt", "attempts", "address", "options", "last_attempt", "last_status",
        "last_reply", "last_host", "lane",
    )),
]  # fmt: skip


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store."""
    directory = tmp_path_factory.mktemp("pristine")

    async def fill() -> None:
        async with EmbeddedStore(directory, minimum_free=0) as store:
            now = time.time()
            for number in range(MESSAGES):
                options = {"NOTIFY": "FAILURE"}
                recipients = {
                    each: Recipient(f"r{number}.{each}@beta.test", options, last_status="4.4.1", last_reply="busy")
                    for each in range(1 + number % 2)
                }
                envelope = Envelope(f"s{number}@alpha.test", f"account{number % 3}", {"BODY": "8BITMIME"})
                body = MemoryBody(f"Subject: {number}\r\n\r\nhello\r\n".encode())
                one = Message(new_queue_id(), envelope, recipients, body, now, now + 432_000)
                await store.store(one)
                PRISTINE[one.queue_id] = len(recipients)

    asyncio.run(fill())
    return directory


def spoil(database: Path, table: str, column: str, value: str) -> str:
    """Have one cell hold a value that its table does not take; the queue id of its message, as it was."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.text_factory = bytes
    ((queue_id,),) = connection.execute("SELECT queue_id FROM messages WHERE seq = ?", (SPOILED,)).fetchall()
    schema = connection.execute("SELECT rowid, sql FROM sqlite_schema WHERE type = 'table'").fetchall()
    loose = [
        (re.sub(rb" (NOT NULL|STRICT,? ?)", b" ", sql).replace(b") WITHOUT", b") WITHOUT"), row) for row, sql in schema
    ]
    _rewrite(database, connection, [(sql.decode(), row) for sql, row in loose])
    connection.close()
    connection = sqlite3.connect(database, isolation_level=None)
    key = "seq" if table == "messages" else "number = 0 AND message"
    connection.execute(f"UPDATE {table} SET {column} = {value} WHERE {key} = {SPOILED}")
    _rewrite(database, connection, [(sql.decode(), row) for row, sql in schema])
    connection.close()
    return str(queue_id.decode())


def _rewrite(database: Path, connection: sqlite3.Connection, schema: list[tuple[str, int]]) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    for sql, row in schema:
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE rowid = ?", (sql, row))
    connection.execute("PRAGMA writable_schema = RESET")


@pytest.fixture(params=["as it lies", "checked"])
def checked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the database is small enough to be looked at whole at the start."""
    if request.param == "as it lies":
        monkeypatch.setattr("relay_agent.queue.salvage._CHECK_BYTES", 0)
    return bool(request.param == "checked")


@pytest.mark.parametrize(("table", "column"), COLUMNS)
async def test_one_cell(
    pristine: Path, quick: Path, checked: bool, caplog: pytest.LogCaptureFixture, table: str, column: str
) -> None:
    for name, value in VALUES.items():
        if column in ("message", "number") and name in ("nothing", "two"):
            continue  # what the key of a table without rowids cannot be: nothing, or that of another row
        directory = quick / name
        shutil.copytree(pristine, directory)
        queue_id = spoil(directory / "0" / "queue.db", table, column, value)
        caplog.clear()
        try:
            await check(directory, queue_id, caplog)
        except BaseException as error:
            error.add_note(f"{table}.{column}: {name}")
            raise
        shutil.rmtree(directory)


async def check(directory: Path, spoiled: str, caplog: pytest.LogCaptureFixture) -> None:
    """All other messages are as they were; the damaged one is delivered whole, or it is held or named."""
    async with EmbeddedStore(directory, minimum_free=0) as store:
        now = time.time() + 10
        due = await store.due(now, 100)
        assert {one.queue_id for one in due} == {one.queue_id for one in await store.due(now, 100)}
        listed = await store.list()
        for one in (*due, *listed):
            sane(one)
        assert all(one.recipients for one in due)
        assert all(one.recipients for one in listed if one.queue_id != spoiled)
        assert len({*PRISTINE} & {one.queue_id for one in due} - {spoiled}) == MESSAGES - 1
        assert len({*PRISTINE} & {one.queue_id for one in listed} - {spoiled}) == MESSAGES - 1
        assert (await store.next_due() or 0) < LATEST
        await store.counts()
        await store.oldest()
        await store.awaiting(lambda _: True)
        found = await store.find(Selection(), None)
        assert len({*PRISTINE} & {each.queue_id for each in found.matches} - {spoiled}) == MESSAGES - 1
        groups, _ = await store.groups(Selection(), None)
        assert all(type(group.destination) is str and type(group.reason) is str for group in groups)
        said = "\n".join([*store.notices, *caplog.messages, *lost(directory)])
        rest = next((one for one in due if one.queue_id not in PRISTINE or one.queue_id == spoiled), None)
        if rest is None or len(rest.recipients) != PRISTINE[spoiled]:
            held = [one for one in listed if one.recipients and is_held(one)]
            reasons = [each.last_reply for one in held for each in one.recipients.values()]
            told = any(re.search(r"held: .*its .* cannot be read", each) for each in (*reasons, said))
            assert told or spoiled in said or f"message number {SPOILED}" in said
        # The operator can have it tried again, and can be rid of it.
        for one in await store.list():
            if one.recipients and is_held(one):
                assert await store.release([one.queue_id]) > 0
                await store.due(now, 100)
                assert await store.delete([one.queue_id]) == 1
        assert len({*PRISTINE} & {one.queue_id for one in await store.list()} - {spoiled}) == MESSAGES - 1


def sane(one: Message) -> None:
    """Nothing in it that the code behind the store is not made for."""
    assert type(one.queue_id) is str
    assert 0 <= one.created < LATEST
    assert 0 <= one.expires < LATEST
    assert isinstance(one.envelope.reverse_path, str)
    assert one.envelope.account is None or isinstance(one.envelope.account, str)
    assert all(type(value) is str for value in one.envelope.options.values())
    for number, recipient in one.recipients.items():
        assert type(number) is int
        assert isinstance(recipient.address, str)
        assert not set("\r\n\0") & set(recipient.address) or recipient.state is RecipientState.WAITING
        assert 0 <= recipient.next_attempt < LATEST
        assert 0 <= recipient.attempts <= 1_000_000
        assert recipient.last_attempt is None or isinstance(recipient.last_attempt, float)
        assert all(type(value) is str for value in recipient.options.values())
        for text in (recipient.last_status, recipient.last_reply, recipient.last_host):
            assert isinstance(text, str)


def is_held(one: Message) -> bool:
    """Whether none of its recipients waits."""
    return all(each.state is RecipientState.HELD for each in one.recipients.values())


def lost(directory: Path) -> list[str]:
    """The lines for what could not be read whole."""
    return [line for path in (directory / "0").glob("*.lost") for line in path.read_text().splitlines()]
