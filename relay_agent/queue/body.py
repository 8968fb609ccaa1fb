# SPDX-License-Identifier: GPL-3.0-or-later
"""A message's content, in memory or in a file, and the spool it is collected in while it arrives."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from relay_agent.queue.model import QueueFullError

__all__ = ["DISK_REFUSALS", "MINIMUM_FREE", "FileBody", "MemoryBody", "Spool"]

#: What a disk says when it takes no more: no room, quota, file size limit, I/O error, read-only.
DISK_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})

#: Bytes left free on the disk for the records of what is delivered; below it nothing new is taken.
MINIMUM_FREE = 32 << 20


class MemoryBody:
    """Content held in memory."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content)

    def read(self) -> bytes:
        """The whole content."""
        return self.content

    def blocks(self, size: int = 65536) -> Iterator[bytes]:
        """The content in blocks of at most `size` bytes."""
        content = self.content
        if len(content) <= size:
            if content:
                yield content
            return
        for start in range(0, len(content), size):
            yield content[start : start + size]

    def discard(self) -> None:
        """Nothing to remove."""


class FileBody:
    """Content whose larger part is in a file: `prefix`, then the file's bytes from `offset` on.

    A header block that replaces or precedes the one that arrived thus costs no rewriting of the file.
    `size` is the sum of both. The path changes once, when the store takes the file over.
    """

    __slots__ = ("offset", "path", "prefix", "size")

    def __init__(self, path: Path, size: int, *, prefix: bytes = b"", offset: int = 0) -> None:
        self.path = path
        self.size = size
        self.prefix = prefix
        self.offset = offset

    def read(self) -> bytes:
        """The whole content, blocking on the disk. Raises OSError when the file is gone or cut short."""
        return b"".join(self.blocks(1 << 20))

    def blocks(self, size: int = 65536) -> Iterator[bytes]:
        """The content in blocks of at most `size` bytes, read from the file one at a time.

        Raises OSError when the file is gone or ends early.
        """
        prefix = self.prefix
        for start in range(0, len(prefix), size):
            yield prefix[start : start + size]
        left = self.size - len(prefix)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            while left > 0:
                block = file.read(min(size, left))
                if not block:
                    raise OSError(errno.EIO, f"ends {left} bytes early", str(self.path))
                left -= len(block)
                yield block

    def intact(self) -> bool:
        """Whether the file is there and long enough; does not read it."""
        try:
            return self.path.stat().st_size >= self.offset + self.size - len(self.prefix)
        except OSError:
            return False

    def discard(self) -> None:
        """Remove the file (the message was refused)."""
        self.path.unlink(missing_ok=True)


class Spool:
    """Collects a message's content as it arrives; large content goes to a file, block by block.

    Up to `threshold` bytes stay in memory. From there on the content is written to a file in `directory`
    in blocks of `block` bytes, so a message of any size costs no more memory than the threshold. The writes
    are plain `write(2)` calls into the page cache, made on the caller's thread: some tens of microseconds
    for 128 KiB. Nothing is synced here; the store does that, in a thread.

    `minimum_free` bytes stay free on the disk for the queue's own records: with less, nothing is written.
    Use as a context manager, or call `discard` when the content is not wanted after all.
    """

    __slots__ = (
        "_block",
        "_chunks",
        "_directory",
        "_fd",
        "_held",
        "_minimum_free",
        "_path",
        "_refused",
        "_threshold",
        "size",
    )

    def __init__(
        self, directory: Path, *, threshold: int = 256 * 1024, block: int = 128 * 1024, minimum_free: int = MINIMUM_FREE
    ) -> None:
        self.size = 0
        self._directory = directory
        self._threshold = threshold
        self._block = block
        self._minimum_free = minimum_free
        self._chunks: list[bytes] = []
        self._held = 0  # bytes in _chunks
        self._fd = -1
        self._path: Path | None = None
        self._refused: QueueFullError | None = None

    @property
    def in_file(self) -> bool:
        """Whether the content has outgrown the threshold."""
        return self._path is not None

    def write(self, block: bytes | bytearray | memoryview) -> None:
        """Take the next part of the content (copied unless `bytes`).

        Raises QueueFullError when the disk refuses; the spool is then discarded and takes no more.
        """
        if self._refused is not None:
            raise self._refused
        data = block if isinstance(block, bytes) else bytes(block)
        if not data:
            return
        self.size += len(data)
        self._held += len(data)
        self._chunks.append(data)
        if self._held > (self._threshold if self._path is None else self._block):
            self._write_out()

    def head(self, limit: int = 65536) -> bytes:
        """The first `limit` bytes that arrived so far, for reading the header."""
        if self._path is None or self._fd < 0:
            return b"".join(self._chunks)[:limit] if len(self._chunks) != 1 else self._chunks[0][:limit]
        written = os.pread(self._fd, limit, 0)
        return written if len(written) == limit else (written + b"".join(self._chunks))[:limit]

    def finish(self, prefix: bytes = b"", *, skip: int = 0) -> MemoryBody | FileBody:
        """The content as a body: `prefix`, then what arrived without its first `skip` bytes.

        Pass the header block that the message shall have as `prefix` and the length of the one that
        arrived as `skip`; neither is copied into the file. The spool is empty afterwards and the file, if
        there is one, belongs to the body. Raises QueueFullError when the disk refuses the rest, and
        ValueError when `skip` is more than what arrived.
        """
        if self._refused is not None:
            raise self._refused
        if not 0 <= skip <= self.size:
            raise ValueError(f"cannot skip {skip} of {self.size} bytes")
        if self._path is None:
            content = b"".join(self._chunks)
            self._chunks, self._held = [], 0
            return MemoryBody(prefix + content[skip:] if prefix or skip else content)
        self._write_out()
        os.close(self._fd)
        path, self._path, self._fd = self._path, None, -1
        return FileBody(path, len(prefix) + self.size - skip, prefix=prefix, offset=skip)

    def discard(self) -> None:
        """Forget the content and remove its file; harmless after `finish`."""
        self._chunks, self._held = [], 0
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def _write_out(self) -> None:
        try:
            if self._minimum_free:
                disk = os.statvfs(self._directory)
                if disk.f_bavail * disk.f_frsize < self._minimum_free:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._path is None:
                self._begin_file()
            view = memoryview(b"".join(self._chunks))
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self.discard()
            if error.errno in DISK_REFUSALS:
                self._refused = QueueFullError(f"{self._directory}: {error.strerror}")
                raise self._refused from error
            raise
        self._chunks, self._held = [], 0

    def _begin_file(self) -> None:
        self._fd, name = tempfile.mkstemp(dir=self._directory, prefix="in-")
        self._path = Path(name)
