# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may hand out the stores below one queue directory, and which there are.

<directory>/agent.lock    held by the supervisor (or by the command line when no agent runs)
           <n>/           a store, locked by the process that has it open (see `directory`)

Apart from `holdings`, which opens them: the supervisor opens none, and needs nothing of what that takes in memory.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from relay_agent.queue.directory import StoreLockedError

__all__ = ["QueueLock", "store_numbers"]


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
