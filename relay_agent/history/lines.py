# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a segment's lines: those that contain a text, and those of certain messages.

Nothing is indexed: what is looked for once in a while must not cost every message. A search goes over the bytes as
fast as memory does, and takes apart only the lines that it hits.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

__all__ = ["lines_of", "lines_with", "needle"]

_CHUNK = 4 << 20
_QUEUE_ID = b'"queue_id":"'
# What the JSON of an event has as it is: neither escaped nor more than one byte.
_PLAIN = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")


def needle(text: str) -> bytes:
    """The longest part of `text` that is in every line that has all of it, in lower case; perhaps empty."""
    return max(_PLAIN.findall(text), key=len, default="").lower().encode("ascii")


def lines_with(path: Path, wanted: bytes) -> Iterator[bytes]:
    """The lines that contain `wanted`, lower case, whatever their own case. Raises OSError."""
    for chunk in _chunks(path):
        lowered = chunk.lower()
        position = lowered.find(wanted)
        while position >= 0:
            begin, end = _line_at(chunk, position)
            yield chunk[begin:end]
            position = lowered.find(wanted, end + 1) if end + 1 < len(chunk) else -1


def lines_of(path: Path, queue_ids: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """The lines of these messages, each with its message's id. Raises OSError."""
    wanted = {queue_id.encode(): queue_id for queue_id in queue_ids}
    for chunk in _chunks(path):
        position = chunk.find(_QUEUE_ID)
        while position >= 0:
            begin = position + len(_QUEUE_ID)
            end = chunk.find(b'"', begin)
            queue_id = wanted.get(chunk[begin:end])
            if queue_id is not None:
                first, last = _line_at(chunk, position)
                yield queue_id, chunk[first:last]
                end = last
            position = chunk.find(_QUEUE_ID, end) if end >= 0 else -1


def _line_at(chunk: bytes, position: int) -> tuple[int, int]:
    end = chunk.find(b"\n", position)
    return chunk.rfind(b"\n", 0, position) + 1, end if end >= 0 else len(chunk)


def _chunks(path: Path) -> Iterator[bytes]:
    """The file in pieces of whole lines. A line without an end is not whole yet."""
    rest = b""
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_CHUNK):
            whole = piece.rfind(b"\n") + 1
            if whole:
                yield rest + piece[:whole]
                rest = piece[whole:]
            else:
                rest += piece
