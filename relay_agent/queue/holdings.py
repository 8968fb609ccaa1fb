# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening the stores below one queue directory (`lock` has which there are, and who may hand them out)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from relay_agent.queue.directory import StoreLockedError
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.lock import store_numbers

__all__ = ["open_all", "open_free", "open_one"]

_MOST_STORES = 10_000


def open_free(directory: Path, first: int, on_damage: Callable[[int, str], None]) -> tuple[int, JournaledStore]:
    """Open store `first`, or the next that nobody has open, made if need be; its number and the store. Blocks.

    Raises what JournaledStore raises.
    """
    for number in range(first, first + _MOST_STORES):
        try:
            return number, open_one(directory, number, on_damage)
        except StoreLockedError:
            continue
    raise StoreLockedError(directory, None)


def open_one(directory: Path, number: int, on_damage: Callable[[int, str], None]) -> JournaledStore:
    """Open one store; on_damage gets its number and what is wrong. Blocks. Raises what JournaledStore raises; an
    OSError names the file or, where the system did not say which, the store."""
    try:
        return JournaledStore(directory, number, on_damage=lambda description: on_damage(number, description))
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(directory / str(number))
        raise


def open_all(directory: Path, patience: float) -> list[JournaledStore]:
    """Open every store that there is. Blocks, up to `patience` seconds for each process that is just ending.

    Raises what JournaledStore raises; nothing stays open then but what the process's end closes.
    """
    deadline = time.monotonic() + patience
    opened = []
    for number in store_numbers(directory) or [0]:
        while True:
            try:
                opened.append(JournaledStore(directory, number))
                break
            except StoreLockedError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)
    return opened
