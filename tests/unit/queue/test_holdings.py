# SPDX-License-Identifier: GPL-3.0-or-later
"""A store that cannot be opened: what is told names the file, or the store at least."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from relay_agent.queue import salvage
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.holdings import open_one
from relay_agent.queue.model import QueueFullError
from relay_agent.worker.passing import in_words, passes
from tests.unit.queue.messages import message


def open_store(directory: Path) -> None:
    open_one(directory, 3, lambda number, problem: None)


async def test_a_disk_that_fails_when_the_database_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with EmbeddedStore(tmp_path, 3, minimum_free=0) as store:
        await store.store(message())
    content = (tmp_path / "3" / "queue.db").read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        error.sqlite_errorname = "SQLITE_IOERR_READ"
        raise error

    monkeypatch.setattr(salvage, "prepare", fail)
    with pytest.raises(QueueFullError) as told:
        open_store(tmp_path)
    words = in_words(told.value)
    assert words.startswith(
        f"{tmp_path}/3/queue.db: disk I/O error (SQLITE_IOERR_READ): the disk fails to read or write"
    )
    assert passes(told.value)
    # Nothing was done to a file that may be whole on a disk that is just not there.
    assert (tmp_path / "3" / "queue.db").read_bytes() == content
    assert not list((tmp_path / "3").glob("*.damaged-*"))


def test_the_system_does_not_say_which_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("relay_agent.queue.journaled.EmbeddedStore", fail)
    with pytest.raises(OSError, match="Input/output error") as told:
        open_store(tmp_path)
    assert f"'{tmp_path}/3': the disk fails to read or write" in in_words(told.value)
