# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of a damaged SQLite file, read page by page without SQLite.

SQLite reaches a row only from the root of its tree down; one bad page near the root hides everything below.
The rows themselves lie in leaf pages that can be read one by one. This knows as much of the file format
(https://www.sqlite.org/fileformat2.html) as that takes: pages of trees, records, overflow chains, the list
of free pages, and the write-ahead log.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from relay_agent.queue.damage import decoded

__all__ = ["Pages", "Row", "Value"]

Value = int | float | str | bytes | None

_LEAF_TABLE, _INNER_TABLE, _LEAF_INDEX, _INNER_INDEX = 0x0D, 0x05, 0x0A, 0x02
_PAGE = 4096
_SMALLEST_LOCAL = (_PAGE - 12) * 32 // 255 - 23
_LARGEST_LOCAL = {
    _LEAF_TABLE: _PAGE - 35,
    _LEAF_INDEX: (_PAGE - 12) * 64 // 255 - 23,
    _INNER_INDEX: (_PAGE - 12) * 64 // 255 - 23,
}
_TREES = frozenset({_LEAF_TABLE, _INNER_TABLE, _LEAF_INDEX, _INNER_INDEX})
_EMPTY = bytes(_PAGE)
#: What reading noise as if it were a page can lead to.
_NOISE = (IndexError, ValueError, struct.error, OverflowError)


@dataclass(slots=True, frozen=True)
class Row:
    """One record. `key` is the rowid (None in an index or a table without rowids).

    `sure` is False when the page it was on may be a free one that still shows what was deleted.
    """

    key: int | None
    values: list[Value]
    sure: bool


class _OpenFile:
    """A file's content by slices, as bytes have it. Where the disk cannot read that is an OSError with the file's name;
    in a mapped file it would be the end of the process (SIGBUS)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._fd).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice) -> bytes:
        try:
            return os.pread(self._fd, place.stop - place.start, place.start)
        except OSError as error:
            error.filename = str(self._path)
            raise

    def close(self) -> None:
        os.close(self._fd)


@dataclass(slots=True)
class Pages:
    """The pages of a database file, each in its newest committed version: from the log, else the file."""

    data: bytes | _OpenFile
    log: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, log: Path) -> Pages:
        """Open a database file (which may be empty or gone) and read its log. Raises OSError, as all that reads pages
        then does."""
        committed = _committed(log.read_bytes()) if log.exists() else {}
        return cls(_OpenFile(path) if path.exists() else b"", committed)

    def close(self) -> None:
        """Close the file."""
        if isinstance(self.data, _OpenFile):
            self.data.close()

    @property
    def count(self) -> int:
        """Pages there are; the last one may be cut short."""
        return max(-(-len(self.data) // _PAGE), max(self.log, default=0))

    def least_in_use(self) -> int:
        """Bytes of the pages that have something in them for sure: no more than that where the list of free pages is
        damaged. Reads all of the file."""
        free, whole = self._free()
        count = 0
        for number in range(1, self.count + 1):
            page = self.page(number)
            count += page[0] in _TREES if not whole else number not in free and page != _EMPTY
        return count * _PAGE

    def page(self, number: int) -> bytes:
        """A page, filled up with zeros where the file ends. Raises IndexError for one that cannot be."""
        if not 0 < number <= self.count:
            raise IndexError(number)
        found = self.log.get(number)
        if found is None:
            found = self.data[(number - 1) * _PAGE : number * _PAGE]
        return found if len(found) == _PAGE else found.ljust(_PAGE, b"\0")

    def rows(self, roots: Sequence[int]) -> Iterator[Row]:
        """Every record of every tree; the rows of the trees at `roots` are the ones that may be sure."""
        reached = self._reached(roots)
        free, whole = self._free()
        for number in range(2, self.count + 1):
            if number not in reached and number in free:
                continue
            page = self.page(number)
            if page[0] in _LARGEST_LOCAL:
                yield from self._rows_of(page, number in reached or whole)

    def _reached(self, roots: Sequence[int]) -> set[int]:
        """Pages that can be reached from the roots."""
        reached: set[int] = set()
        todo = list(roots)
        while todo:
            number = todo.pop()
            if number in reached or not 0 < number <= self.count:
                continue
            page = self.page(number)
            kind = page[0]
            if kind in _LARGEST_LOCAL or kind == _INNER_TABLE:
                reached.add(number)
            if kind in (_INNER_TABLE, _INNER_INDEX):
                todo.append(int.from_bytes(page[8:12], "big"))
                todo += [int.from_bytes(page[cell : cell + 4], "big") for cell in _cells(page)]
        return reached

    def _free(self) -> tuple[set[int], bool]:
        """Free pages, and whether that is certainly all of them."""
        free: set[int] = set()
        if self.count == 0:
            return free, False
        head = self.page(1)
        if not head.startswith(b"SQLite format 3\0"):
            return free, False
        trunk, total = struct.unpack_from(">II", head, 32)
        while trunk and trunk not in free and trunk <= self.count:
            free.add(trunk)
            page = self.page(trunk)
            trunk, leaves = struct.unpack_from(">II", page)
            if leaves > _PAGE // 4 - 2:
                return free, False
            free.update(struct.unpack_from(f">{leaves}I", page, 8))
        return free, trunk == 0 and len(free) == total

    def _rows_of(self, page: bytes, sure: bool) -> Iterator[Row]:
        kind = page[0]
        for cell in _cells(page):
            try:
                place = cell + 4 if kind == _INNER_INDEX else cell
                size, place = _varint(page, place)
                key = None
                if kind == _LEAF_TABLE:
                    key, place = _varint(page, place)
                yield Row(key, _record(self._payload(page, place, size, _LARGEST_LOCAL[kind])), sure)
            except _NOISE:
                continue

    def _payload(self, page: bytes, place: int, size: int, largest: int) -> bytes:
        if size <= largest:
            return page[place : place + size]
        local = _SMALLEST_LOCAL + (size - _SMALLEST_LOCAL) % (_PAGE - 4)
        if local > largest:
            local = _SMALLEST_LOCAL
        if size > self.count * _PAGE:
            raise ValueError("larger than the file")
        parts = [page[place : place + local]]
        left = size - local
        following = int.from_bytes(page[place + local : place + local + 4], "big")
        while left > 0:
            overflow = self.page(following)
            parts.append(overflow[4 : 4 + left])
            left -= _PAGE - 4
            following = int.from_bytes(overflow[:4], "big")
        return b"".join(parts)


def _cells(page: bytes) -> list[int]:
    """Where the cells of a page begin."""
    start = 12 if page[0] in (_INNER_TABLE, _INNER_INDEX) else 8
    count = min(int.from_bytes(page[3:5], "big"), (_PAGE - start) // 2)
    return [cell for cell in struct.unpack_from(f">{count}H", page, start) if start <= cell < _PAGE - 4]


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for _ in range(8):
        byte = data[place]
        place += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place
    return value << 8 | data[place], place + 1


def _record(payload: bytes) -> list[Value]:
    """The values of a record. Raises one of _NOISE for what is none."""
    end, place = _varint(payload, 0)
    if end > len(payload):
        raise ValueError("header longer than the record")
    values: list[Value] = []
    at = end
    while place < end:
        kind, place = _varint(payload, place)
        size = (kind - 12) // 2 if kind >= 12 else (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, -1, -1)[kind]
        if size < 0 or at + size > len(payload):
            raise ValueError("longer than the record")
        part = payload[at : at + size]
        at += size
        if kind >= 12:
            values.append(decoded(part) if kind % 2 else part)
        elif kind == 7:
            values.append(struct.unpack(">d", part)[0])
        elif kind == 0:
            values.append(None)
        else:
            values.append(kind - 8 if kind >= 8 else int.from_bytes(part, "big", signed=True))
    return values


def _committed(log: bytes) -> dict[int, bytes]:
    """The newest version of each page in a write-ahead log, up to its last commit that is whole."""
    pages: dict[int, bytes] = {}
    if len(log) < 32 or log[:4] not in (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"):
        return pages
    order = ">" if log[3] & 1 else "<"
    sums = _sums(log[:24], (0, 0), order)
    if sums != struct.unpack_from(">II", log, 24):
        return pages
    pending: dict[int, bytes] = {}
    for place in range(32, len(log) - _PAGE - 23, _PAGE + 24):
        number, commit = struct.unpack_from(">II", log, place)
        if log[place + 8 : place + 16] != log[16:24]:
            break
        page = log[place + 24 : place + 24 + _PAGE]
        sums = _sums(page, _sums(log[place : place + 8], sums, order), order)
        if sums != struct.unpack_from(">II", log, place + 16):
            break
        pending[number] = page
        if commit:
            pages.update(pending)
            pending.clear()
    return pages


def _sums(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    """The log's running checksum, continued over some data."""
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
