# SPDX-License-Identifier: GPL-3.0-or-later
import errno
import sqlite3
import ssl

import pytest

from relay_agent.config.load import ConfigError
from relay_agent.queue.model import QueueDamagedError, QueueFullError
from relay_agent.worker.passing import passes


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
