# SPDX-License-Identifier: GPL-3.0-or-later
"""Which troubles of a worker that starts pass by themselves, and which need a person."""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

from relay_agent.queue.body import DISK_REFUSALS
from relay_agent.queue.model import QueueFullError
from relay_agent.queue.writer import refusal

__all__ = ["in_words", "passes"]

_SHORTAGES: Final = DISK_REFUSALS | {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EBUSY}
_DISK_FAILS: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR_READ,
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
        sqlite3.SQLITE_IOERR_DATA,
    }
)


def in_words(error: BaseException) -> str:
    """What is wrong, and what to do about a disk that fails: unlike a full one that is often for good."""
    told = str(error) or type(error).__name__
    link: BaseException | None = error
    while link is not None:
        if getattr(link, "errno", None) == errno.EIO or getattr(link, "sqlite_errorcode", None) in _DISK_FAILS:
            return (
                f"{told}: the disk fails to read or write; it is tried again, but look at the kernel's log (dmesg): if "
                "the disk is broken, stop the agent, copy its queue to a good one (ddrescue) and start it there; if it "
                "is not, see whether a quota or a limit on file sizes (LimitFSIZE=) is in the way"
            )
        link = link.__cause__
    return told


def passes(error: BaseException) -> bool:
    """Whether the same start can go well later with nothing changed in the configuration: the disk takes no more,
    or the host lacks memory or descriptors at the moment."""
    if isinstance(error, MemoryError | QueueFullError):
        return True
    if isinstance(error, OSError):
        return error.errno in _SHORTAGES
    return isinstance(refusal(error, ""), QueueFullError)  # SQLite's words for the same
