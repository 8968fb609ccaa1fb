# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress lines: what is being done, how long it took, a sign of life in between."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["Progress"]


class Progress:
    """Prints one line a step with the time since the start; safe to use from threads.

    ``heartbeat`` is in seconds: when nothing was printed for that long, a line names the steps that
    are under way.
    """

    def __init__(self, *, stream: TextIO | None = None, heartbeat: float = 10.0) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._heartbeat = heartbeat
        self._started = time.monotonic()
        self._spoke = self._started
        self._lock = threading.Lock()
        self._under_way: dict[int, str] = {}
        self._ticker: threading.Thread | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since this object was made."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """Print one line."""
        with self._lock:
            self._say(text)

    def _say(self, text: str) -> None:
        print(f"lab {self.elapsed:6.1f} s  {text}", file=self._stream, flush=True)
        self._spoke = time.monotonic()

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Announce ``what``, mention it while it lasts, and say how long it took."""
        begun = time.monotonic()
        with self._lock:
            self._say(f"{what} ...")
            token = max(self._under_way, default=0) + 1
            self._under_way[token] = what
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, daemon=True)
                self._ticker.start()
        try:
            yield
        except BaseException:
            self._finish(token, f"{what}: failed after {time.monotonic() - begun:.1f} s")
            raise
        self._finish(token, f"{what}: done in {time.monotonic() - begun:.1f} s")

    def _finish(self, token: int, text: str) -> None:
        with self._lock:
            del self._under_way[token]
            self._say(text)

    def _tick(self) -> None:
        while True:
            time.sleep(self._heartbeat / 20)
            with self._lock:
                if not self._under_way:
                    self._ticker = None
                    return
                if time.monotonic() - self._spoke >= self._heartbeat:
                    self._say(f"still at it: {'; '.join(self._under_way.values())}")
