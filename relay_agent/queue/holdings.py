# SPDX-License-Identifier: GPL-3.0-or-later
"""The stores below one queue directory: which there are, and who may hand them out.

<directory>/agent.lock    held by the supervisor (or by the command line when no agent runs)
           <n>/           a store, locked by the process that has it open (see `directory`)
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from relay_agent.queue.directory import StoreLockedError
from relay_agent.queue.journaled import JournaledStore

__all__ = ["QueueLock", "open_all", "open_free", "open_one", "store_numbers"]

_MOST_STORES = 10_000


class QueueLock:
    """Held by whoever decides about the stores of a queue directory, until `close` or the end of the process.

    fd: a descriptor that holds the lock already (of an earlier image of this process).
    Raises StoreLockedError when another process holds it, and OSError.
    """

    def __init__(self, directory: Path, *, fd: int | None = None) -> None:
        self.directory = directory
        if fd is not None:
            os.set_inheritable(fd, False)  # a worker that had it would keep the lock
            self.fd = fd
            return
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / "agent.lock"
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self.fd, 32, 0).strip()
            os.close(self.fd)
            if not isinstance(error, BlockingIOError):
                raise
            raise StoreLockedError(directory, int(holder) if holder.isdigit() else None) from None
        owner = directory.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:
            os.fchown(self.fd, owner.st_uid, owner.st_gid)
        try:
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass  # a full disk: only the name of the holder is missing

    def close(self) -> None:
        """Let go."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def store_numbers(directory: Path) -> list[int]:
    """The stores that there are, in order."""
    try:
        names = [path.name for path in directory.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and str(int(name)) == name)


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
