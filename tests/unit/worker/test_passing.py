# SPDX-License-Identifier: GPL-3.0-or-later
import errno
import sqlite3
import ssl

import pytest

from relay_agent.config.load import ConfigError
from relay_agent.queue.model import QueueDamagedError, QueueFullError
from relay_agent.worker.passing import in_words, passes


def of_sqlite(kind: type[sqlite3.Error], code: int) -> sqlite3.Error:
    error = kind("refused")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "error",
    [
        QueueFullError("full"),
        MemoryError(),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EIO, "broken"),
        OSError(errno.EMFILE, "too many"),
        of_sqlite(sqlite3.OperationalError, sqlite3.SQLITE_FULL),
        of_sqlite(sqlite3.OperationalError, sqlite3.SQLITE_IOERR_WRITE),
    ],
)
def test_what_the_host_lacks_passes(error: BaseException) -> None:
    assert passes(error)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError([]),
        QueueDamagedError("damaged"),
        PermissionError(errno.EACCES, "not yours"),
        FileNotFoundError(errno.ENOENT, "no certificate"),
        ssl.SSLError(1, "no key"),
        of_sqlite(sqlite3.DatabaseError, sqlite3.SQLITE_NOTADB),
        ZeroDivisionError(),
    ],
)
def test_what_a_person_has_to_change_does_not(error: BaseException) -> None:
    assert not passes(error)


def test_a_disk_that_fails_is_said_to_need_a_look() -> None:
    told = QueueFullError("/q/0/queue.db: disk I/O error (SQLITE_IOERR_READ)")
    told.__cause__ = of_sqlite(sqlite3.OperationalError, sqlite3.SQLITE_IOERR_READ)
    for error in (told, OSError(errno.EIO, "Input/output error", "/q/0")):
        assert in_words(error).startswith(f"{error}: the disk fails to read or write")
        assert "dmesg" in in_words(error)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (QueueFullError("/q/0: no room"), "/q/0: no room"),
        (OSError(errno.ENOSPC, "No space left on device"), "[Errno 28] No space left on device"),
        (of_sqlite(sqlite3.OperationalError, sqlite3.SQLITE_IOERR_SHMSIZE), "refused"),  # a full disk, too
        (MemoryError(), "MemoryError"),
    ],
)
def test_other_troubles_are_told_as_they_are(error: BaseException, words: str) -> None:
    assert in_words(error) == words
