# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what is saved of a damaged database has room on the disk beside it."""

from __future__ import annotations

from pathlib import Path

from relay_agent.queue.directory import StoreDirectory
from relay_agent.queue.model import QueueFullError
from relay_agent.queue.pages import Pages

__all__ = ["check_room"]

_BESIDE = 1 << 20  # bytes for the note of the repair and the list of what is lost


def check_room(directory: StoreDirectory, damaged: Path, what: str) -> None:
    """Raise QueueFullError when a copy of the pages in use of a database, `damaged`, and its log has no room on the
    store's disk. Nothing is changed. what: what is wrong, in words.

    That much is sure to be needed, a little more may be: what runs out of room half-way is taken back.
    """
    free = directory.free()
    log = Path(f"{damaged}-wal")
    if free >= sum(path.stat().st_size for path in (damaged, log) if path.exists()) + _BESIDE:
        return
    source = Pages.open(damaged, log)
    try:
        needed = source.least_in_use() + _BESIDE
    finally:
        source.close()
    if needed > free:
        raise QueueFullError(
            f"{what}; saving what can be read of it needs {_megabytes(needed)} in {directory.root}, and the disk has "
            f"{_megabytes(free)} free: make room there, and it begins; nothing was changed yet"
        )


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
