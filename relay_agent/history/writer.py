# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what happened to each message, beside the mail's way and never in it.

The log hands over a line that it has encoded anyway; appending it to a list is all that a message's way pays. A thread
appends the lines to a file, many with one call. Nothing is sorted in or indexed: who asks what became of a message
waits a moment for the search instead (`lines`). Trouble of any kind loses history, which is counted, and never holds
mail up.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from relay_agent.history.segments import PARTS, Segment, create, open_to_append, segments, to_remove
from relay_agent.observability import measured
from relay_agent.queue.body import MINIMUM_FREE

__all__ = ["HistoryWriter"]

log = logging.getLogger(__name__)

_MOST_WAITING = 32 << 20  # characters of lines that wait for the thread; what comes then is lost
_LONGEST = 1 << 20  # characters of a line
_LINES_AT_ONCE = 2000
_CHARACTERS_AT_ONCE = 2 << 20
_GATHER = 0.5  # seconds that the first line of a batch waits for more: what a kill may cost
_TIDY_EVERY = 3600.0  # seconds
_SAY_EVERY = 60.0
_DAY = 86_400


class HistoryWriter:
    """Takes events from the event loop's thread and writes them from one of its own.

    directory: made if need be. keep: seconds. max_size: bytes of all files together.
    minimum_free: bytes on the disk that are left to the queue.
    """

    def __init__(
        self,
        directory: Path,
        *,
        keep: float,
        max_size: int,
        minimum_free: int = 2 * MINIMUM_FREE,
        gather: float = _GATHER,
    ) -> None:
        self._directory = directory
        self._keep = keep
        self._max_size = max_size
        self._minimum_free = minimum_free
        self._gather = gather
        self._lines: deque[str] = deque()
        self._put = 0  # characters; only the event loop's thread counts here
        self._taken = 0  # characters; only the history's thread counts here
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._written = threading.Condition()
        self._rounds = 0
        self._closing = False
        self._segment: Segment | None = None
        self._file = -1
        self._said = -_SAY_EVERY
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Keep an event: a JSON object with `ts`, `event` and `queue_id`, on one line without spaces between its
        parts, as the log writes it. Never raises or waits.

        `message_id`, `sender` (of `accepted`), `recipient` and `to` (a list) are what it can be found by.
        """
        if self._put - self._taken > _MOST_WAITING or len(line) > _LONGEST:
            measured.HISTORY_EVENTS["overflow"] += 1
            return
        self._put += len(line)
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, seconds: float = 5.0) -> bool:
        """Have everything that was put so far on the disk; blocks. False when that took too long."""
        with self._written:
            wanted = self._rounds + 2  # the round under way may have begun before the last line came
            self._hurry.set()
            self._wake.set()
            return self._written.wait_for(lambda: self._rounds >= wanted or not self._thread.is_alive(), seconds)

    def close(self) -> None:
        """Write what is left and end; blocks, for a few seconds at most."""
        self._closing = True
        self._hurry.set()
        self._wake.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        tidied = -_TIDY_EVERY
        while True:
            closing = self._closing
            if time.monotonic() - tidied >= _TIDY_EVERY:
                tidied = time.monotonic()
                self._tidy()
            while batch := self._batch():
                self._write(batch)
            with self._written:
                self._rounds += 1
                self._written.notify_all()
                again = self._hurry.is_set()
                self._hurry.clear()
            if closing:
                break
            if again:
                continue
            self._wake.wait(_TIDY_EVERY)
            self._wake.clear()
            self._hurry.wait(self._gather)
        self._disconnect()

    def _batch(self) -> list[str]:
        batch: list[str] = []
        size = 0
        while self._lines and len(batch) < _LINES_AT_ONCE and size < _CHARACTERS_AT_ONCE:
            batch.append(self._lines.popleft())
            size += len(batch[-1])
        self._taken += size
        return batch

    def _write(self, batch: Sequence[str]) -> None:
        try:
            self._check_room()
            with self._locked():
                self._append("\n".join([*batch, ""]).encode("ascii", "backslashreplace"))
        except Exception as error:  # whatever it is, the next events are to be kept again
            measured.HISTORY_EVENTS["refused"] += len(batch)
            self._say(f"{len(batch)} events are not kept: {error}")
            self._disconnect()
        else:
            measured.HISTORY_EVENTS["kept"] += len(batch)

    def _append(self, lines: bytes) -> None:
        file = self._current()
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            # A crash cut the last line off; it must not spoil the next one.
            lines = b"\n" + lines
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(file, left) :]
        except OSError:
            os.ftruncate(file, size)
            raise

    def _current(self) -> int:
        """The newest segment's descriptor, or that of a new one when it is of another day or large enough."""
        listed = segments(self._directory)
        newest, now = (listed[-1] if listed else None), time.time()
        if (
            newest is None
            or newest.begins // _DAY != now // _DAY
            or newest.size() > max(self._max_size // PARTS, 1 << 16)
        ):
            newest = create(self._directory, max(now, newest.begins + 0.001) if newest else now)
            self._remove_old()
        if self._file < 0 or self._segment != newest:
            self._disconnect()
            self._file = open_to_append(newest)
            self._segment = newest
        return self._file

    def _remove_old(self) -> None:
        for segment in to_remove(self._directory, time.time(), self._keep, self._max_size):
            segment.remove()

    def _tidy(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            with self._locked():
                self._remove_old()
        except Exception as error:
            self._say(f"old events cannot be removed: {error}")

    def _check_room(self) -> None:
        disk = os.statvfs(self._directory)
        if disk.f_bavail * disk.f_frsize < self._minimum_free:
            raise OSError(f"less than {self._minimum_free} bytes free on the disk, which are left to the queue")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process writes or removes at a time."""
        fd = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _disconnect(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._segment, self._file = None, -1

    def _say(self, what: str) -> None:
        if time.monotonic() - self._said >= _SAY_EVERY:
            self._said = time.monotonic()
            log.warning("history: %s", what)
