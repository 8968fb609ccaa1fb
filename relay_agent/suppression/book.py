# SPDX-License-Identifier: GPL-3.0-or-later
"""All recipients that are not to be written to, as the supervisor keeps them: in memory and in one file.

The file has a JSON object a line; a later line overrides an earlier one of the same address and owner. So a change is
one write, a killed process loses nothing, and of a file that is damaged only the lines that are go.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from relay_agent.config.schema import Config
from relay_agent.delivery.reply import printable
from relay_agent.suppression.entry import LONGEST_REASON, Cause, Entry, Gone, fold, parse_change
from relay_agent.whole_file import replace_file

__all__ = ["Book", "book_file", "read_changes"]

_LONGEST_LINE = 8192  # bytes
_SPARE_LINES = 1000  # that are overridden, before the file is written anew


def book_file(config: Config) -> Path:
    """Where the entries are."""
    return config.suppression.file or config.queue.directory / "suppression.jsonl"


def read_changes(path: Path) -> Iterator[Entry | Gone | None]:
    """What the lines of the file say, in their order; None for one that cannot be read. Raises OSError.

    A file that is not there has no lines.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        while line := file.readline(_LONGEST_LINE):
            try:
                record = json.loads(line)
                yield parse_change(record) if isinstance(record, dict) else None
            except (ValueError, RecursionError):
                yield None


class Book:
    """The entries. Every method that changes something returns what the workers have to be told of it."""

    def __init__(self, config: Config) -> None:
        self._config = config.suppression
        self.path = book_file(config)
        self._entries: dict[tuple[str, str], Entry] = {}  # the one that changed last comes last
        self._lines = 0
        self._fd = -1
        self.unreadable = 0  # lines of the file

    def load(self, now: float) -> None:
        """Read the file, and write it anew if that makes it much shorter. Raises OSError."""
        self._entries.clear()
        for change in read_changes(self.path):
            self._lines += 1
            if change is None:
                self.unreadable += 1
            else:
                self._apply(change)
        self._expire(now)
        self._evict()
        self._compact()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def counts(self) -> Counter[str]:
        """Entries that are active, by cause."""
        return Counter(str(entry.cause) for entry in self._entries.values() if entry.active)

    def of(self, address: str) -> list[Entry]:
        """All entries of an address, in any spelling."""
        folded = fold(address)
        return [entry for entry in self._entries.values() if entry.address == folded]

    # ---- changes --------------------------------------------------------------------------------------

    def bounced(self, address: str, owner: str, reason: str, sender: str, now: float) -> list[Entry | Gone]:
        """A host has said for good that it has no such mailbox."""
        return self._met(address, owner, Cause.BOUNCE, reason, sender, now)

    def complained(self, address: str, owner: str, reason: str, sender: str, now: float) -> list[Entry | Gone]:
        """A recipient has complained."""
        return self._met(address, owner, Cause.COMPLAINT, reason, sender, now)

    def add(self, address: str, owner: str, reason: str, now: float) -> list[Entry | Gone]:
        """The operator wants it. Raises ValueError for what is no address."""
        folded = fold(address)
        if not folded:
            raise ValueError(f"{printable(address, 100)} is not a mail address")
        entry = Entry(folded, owner, Cause.MANUAL, printable(reason, LONGEST_REASON), now, now)
        return self._write([entry])

    def remove(self, address: str, owner: str | None = None, *, only: Cause | None = None) -> list[Entry | Gone]:
        """Lift the entries of an address, or only those of one owner, or of one cause."""
        gone: list[Entry | Gone] = [
            Gone(entry.address, entry.owner)
            for entry in self.of(address)
            if (owner is None or entry.owner == owner) and (only is None or entry.cause is only)
        ]
        return self._write(gone)

    def expire(self, now: float) -> list[Entry | Gone]:
        """Let go of what is too old."""
        return self._write(self._old(now))

    def sync(self) -> None:
        """Have all that was written on the disk. Raises OSError."""
        if self._fd >= 0:
            os.fdatasync(self._fd)

    def _met(self, address: str, owner: str, cause: Cause, reason: str, sender: str, now: float) -> list[Entry | Gone]:
        folded = fold(address)
        if not folded:
            return []
        before = self._entries.get((folded, owner))
        reason = printable(reason, LONGEST_REASON)
        if before is None or (not before.active and now - before.first > self._config.within):
            before = Entry(folded, owner, cause, reason, now, now, 0, False, sender)
        elif before.cause is Cause.MANUAL or (before.cause is Cause.COMPLAINT and cause is Cause.BOUNCE):
            return []  # the stronger one stays as it is
        count = before.count + 1
        active = before.active or cause is Cause.COMPLAINT or count >= self._config.after
        return self._write(
            [replace(before, cause=cause, reason=reason, last=now, count=count, active=active, sender=sender)]
        )

    def _write(self, changes: list[Entry | Gone]) -> list[Entry | Gone]:
        """Make the changes, in memory even when the disk refuses them. Raises OSError after that."""
        if not changes:
            return []
        for change in changes:
            self._apply(change)
        changes = [*changes, *self._evict()]
        lines = b"".join(json.dumps(change.record(), separators=(",", ":")).encode() + b"\n" for change in changes)
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        os.write(self._fd, lines)
        self._lines += len(changes)
        if self._lines > 2 * len(self._entries) + _SPARE_LINES:
            self._compact()
        return changes

    def _apply(self, change: Entry | Gone) -> None:
        self._entries.pop(change.key, None)
        if isinstance(change, Entry):
            self._entries[change.key] = change

    def _old(self, now: float) -> list[Entry | Gone]:
        keep, within = self._config.keep, self._config.within
        return [
            Gone(entry.address, entry.owner)
            for entry in self._entries.values()
            if entry.cause is not Cause.MANUAL
            and ((keep and now - entry.last > keep) or (not entry.active and now - entry.first > within))
        ]

    def _expire(self, now: float) -> None:
        for gone in self._old(now):
            self._apply(gone)

    def _evict(self) -> list[Entry | Gone]:
        """Keep to the bound; what a person has put in goes last."""
        gone: list[Entry | Gone] = []
        while len(self._entries) > self._config.max_entries:
            learned = (key for key, entry in self._entries.items() if entry.cause is not Cause.MANUAL)
            key = next(learned, None) or next(iter(self._entries))
            gone.append(Gone(*key))
            del self._entries[key]
        return gone

    def _compact(self) -> None:
        """Write only what holds. It takes a moment, about once in as many changes as there are entries."""
        if self._lines <= len(self._entries) + _SPARE_LINES and not self.unreadable:
            return
        lines = [json.dumps(entry.record(), separators=(",", ":")) + "\n" for entry in self._entries.values()]
        replace_file(self.path, "".join(lines).encode())
        self.close()  # it is another file now
        self._lines = len(lines)
