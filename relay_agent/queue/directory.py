# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of one worker's store: its lock, its spool, and the files of large bodies.

<directory>/<worker>/queue.db     the database (with queue.db-wal and queue.db-shm beside it)
                     journal/     new messages, before they are in the database (see `journal`)
                     bodies/<id>  the content of large messages
                     spool/       what is still arriving
                     lock         held (flock) as long as the store is open; names the holder's pid
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["StoreDirectory", "StoreLockedError", "sync_directory"]


class StoreLockedError(Exception):
    """Another process has the store open. `pid` is that process, when it said so."""

    def __init__(self, path: Path, pid: int | None) -> None:
        self.path = path
        self.pid = pid
        super().__init__(f"{path}: in use by {f'process {pid}' if pid else 'another process'}")


def sync_directory(path: Path) -> None:
    """Make names that were created, renamed or removed in a directory survive a crash."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class StoreDirectory:
    """Makes the directories of one worker's store and holds its lock until `close`.

    Raises StoreLockedError when another process (or another store of this one) holds it.
    """

    def __init__(self, directory: Path, worker: int = 0) -> None:
        self.root = directory / str(worker)
        self.bodies = self.root / "bodies"
        self.spool = self.root / "spool"
        self.journal = self.root / "journal"
        self.database = self.root / "queue.db"
        self.wal = self.root / "queue.db-wal"
        self.suspect = self.root / "suspect"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = directory.stat()
        self._owner = (owner.st_uid, owner.st_gid) if os.geteuid() == 0 and owner.st_uid != 0 else None
        self._database_fd = -1
        self._make(self.root)
        self._lock = self._take_lock()
        try:
            for path in (self.bodies, self.spool, self.journal):
                self._make(path)
            for path in (self.root, directory):
                sync_directory(path)
        except BaseException:
            self.close()
            raise

    def _make(self, path: Path) -> None:
        """Make a directory that is not there. Two workers that start at once may look for the same free store, so
        that the other may have made it in the meantime; which of them has the store is the lock's decision."""
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            if not path.is_dir():
                raise
        else:
            self.own(path)

    def own(self, path: Path) -> None:
        """Give what was made here to the directory's owner, when root runs this for the agent's user."""
        if self._owner is not None:
            os.chown(path, *self._owner)

    def _take_lock(self) -> int:
        path = self.root / "lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 32, 0).strip()
            os.close(fd)
            if not isinstance(error, BlockingIOError):
                raise
            raise StoreLockedError(self.root, int(holder) if holder.isdigit() else None) from None
        self.own(path)
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass  # a full disk: only the name of the holder is missing
        return fd

    def sync_database(self) -> None:
        """Sync the database file by a descriptor of our own.

        It is closed only by `close`, after the last connection: closing any descriptor of a file drops all
        POSIX locks that the process has on it, SQLite's among them.
        """
        if self._database_fd < 0:
            self._database_fd = os.open(self.database, os.O_RDONLY | os.O_CLOEXEC)
        os.fdatasync(self._database_fd)

    def close(self) -> None:
        """Let go of the lock; all connections to the database are closed by then."""
        if self._database_fd >= 0:
            os.close(self._database_fd)
            self._database_fd = -1
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def free(self) -> int:
        """Bytes that the agent may still write on this file system."""
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize

    def allocate_log(self, size: int) -> None:
        """Give the log its size in advance, before the database is opened.

        Writing into blocks that a file already has is synced several times as fast as making it longer.
        SQLite takes a log that begins with zeros for an empty one. With little room on the disk, and for a
        log that is there (it may hold what was not copied yet), nothing is done.
        """
        if self.log_size() or self.free() < 8 * size:
            return
        fd = os.open(self.wal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            zeros = bytes(1 << 20)
            for _ in range(size >> 20):
                os.write(fd, zeros)
            os.fsync(fd)
        except OSError:
            # It was only to be faster.
            os.ftruncate(fd, 0)
        finally:
            os.close(fd)
        self.own(self.wal)

    def log_size(self) -> int:
        """Bytes of the database's log."""
        try:
            return self.wal.stat().st_size
        except FileNotFoundError:
            return 0

    def take_in(self, path: Path, queue_id: str) -> Path:
        """Sync a spooled file and give it its place among the bodies; returns the new path.

        Raises OSError, FileExistsError for a queue id that has a file already; the file is then where it was.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        place = self.bodies / queue_id
        if place.exists():
            raise FileExistsError(errno.EEXIST, "there is a body of that queue id", str(place))
        path.rename(place)
        try:
            sync_directory(self.bodies)
        except OSError:
            place.rename(path)
            raise
        return place

    def empty_spool(self) -> int:
        """Remove what was arriving when the store was last closed; returns how many files that were."""
        left = list(self.spool.iterdir())
        for path in left:
            path.unlink()
        return len(left)

    def strays(self, filed: set[str], known: Callable[[str], bool]) -> tuple[list[Path], set[str]]:
        """Bodies that no message refers to, and the queue ids whose body is missing; to be called before anything new
        arrives.

        `filed` are the queue ids whose body must be in a file. `known` is asked about the others that are there.
        """
        there = {path.name for path in self.bodies.iterdir()}
        return [self.bodies / name for name in sorted(there - filed) if not known(name)], filed - there

    def put_aside(self, bodies: Iterable[Path], aside: Path) -> None:
        """Move bodies whose messages may have been lost into a directory that is made for them; synced."""
        aside.mkdir(mode=0o700, exist_ok=True)
        self.own(aside)
        for path in bodies:
            path.rename(aside / path.name)
        for path in (aside, self.bodies, self.root):
            sync_directory(path)
