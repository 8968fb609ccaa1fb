# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines cut out of a connection's input; no I/O."""

from __future__ import annotations

__all__ = ["LineReader", "LineTooLongError"]


_BEGINNING = 16  # bytes of a line that was dropped


class LineTooLongError(Exception):
    """A line was longer than it may be; it is dropped, to its end however far that is. beginning: its first bytes."""

    def __init__(self, beginning: bytes) -> None:
        super().__init__()
        self.beginning = beginning


class LineReader:
    """Takes lines from the front of a buffer, with bounded memory."""

    __slots__ = ("_skipping",)

    def __init__(self) -> None:
        self._skipping = False  # the rest of a line that was too long

    def take(self, buffer: bytearray, longest: int) -> bytes | None:
        """The next line with its line end (LF, with or without CR); None when it is not all there.

        longest: bytes it may have. Raises LineTooLongError, once for each line that is longer.
        """
        while True:
            end = buffer.find(b"\n")
            if end < 0:
                if self._skipping:
                    buffer.clear()
                elif len(buffer) > longest:
                    self._skipping = True
                    beginning = bytes(buffer[:_BEGINNING])
                    buffer.clear()
                    raise LineTooLongError(beginning)
                return None
            line = bytes(memoryview(buffer)[: end + 1])
            del buffer[: end + 1]
            if self._skipping:
                self._skipping = False
            elif len(line) > longest:
                raise LineTooLongError(line[:_BEGINNING])
            else:
                return line
