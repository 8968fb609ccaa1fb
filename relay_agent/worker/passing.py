# SPDX-License-Identifier: GPL-3.0-or-later
"""Which troubles of a worker that starts pass by themselves, and which need a person."""

from __future__ import annotations

import errno
from typing import Final

from relay_agent.queue.body import DISK_REFUSALS
from relay_agent.queue.model import QueueFullError
from relay_agent.queue.writer import refusal

__all__ = ["passes"]

_SHORTAGES: Final = DISK_REFUSALS | {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EBUSY}


def passes(error: BaseException) -> bool:
    """Whether the same start can go well later with nothing changed in the configuration: the disk takes no more,
    or the host lacks memory or descriptors at the moment."""
    if isinstance(error, MemoryError | QueueFullError):
        return True
    if isinstance(error, OSError):
        return error.errno in _SHORTAGES
    return isinstance(refusal(error, ""), QueueFullError)  # SQLite's words for the same
