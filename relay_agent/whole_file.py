# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are changed as a whole: under a lock, and by a rename, so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["locked_directory", "replace_file", "sync_directory"]


@contextlib.contextmanager
def locked_directory(directory: Path, seconds: float) -> Iterator[None]:
    """Hold a directory's lock: it is there before any file is, and leaves nothing behind.

    Raises TimeoutError when somebody else holds it for so long, OSError when the directory cannot be opened.
    """
    import fcntl  # not on Windows, where nobody keeps such files but other commands run
    import time

    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{directory} is locked by another program") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Write the file anew beside the old one, sync, rename, sync the directory.

    Owner, group and mode stay; a new file is read by the group of its directory, and by nobody else. Raises OSError.
    """
    try:
        old = path.stat()
        mode, owner, group = old.st_mode & 0o7777, old.st_uid, old.st_gid
    except FileNotFoundError:
        mode, owner, group = 0o640, -1, path.parent.stat().st_gid
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            # Only root can give a file away; another user writes files that are their own anyway.
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, owner, group)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Have what was renamed or removed in a directory on the disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
