# SPDX-License-Identifier: GPL-3.0-or-later
"""What a relay has run, release and configuration together, numbered, so that it can go back to any of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .managed_files import ManagedFile
from .snapshot import Snapshot, SnapshotError

__all__ = ["Generation", "GenerationError", "Generations"]

_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_HISTORY = "history.json"


class GenerationError(Exception):
    """There is no such generation; the text says which there are."""


@dataclass(frozen=True)
class Generation:
    """One. applied: when it was first in use, in seconds since 1970."""

    number: int
    release: str
    applied: float
    current: bool

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.applied))
        return f"{self.number}: release {self.release}, first used {when}" + (" (in use)" if self.current else "")

    def export(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"id": self.number, "release": self.release, "applied": self.applied, "current": self.current}


class Generations:
    """The directory `root`, one snapshot for each generation, and the order in which they were in use.

    usable: whether a release is still installed. Accounts are no part of a generation: who may no longer sign in must
    not come back with an old configuration.
    """

    def __init__(self, root: Path, usable: Callable[[str], bool]) -> None:
        self._root = root
        self._usable = usable

    def all(self) -> list[Generation]:
        """Those that can be gone back to, the one in use among them, newest use last."""
        order = self._order()
        found = []
        for number in order:
            try:
                manifest = self.snapshot(number).manifest()
            except SnapshotError:
                continue
            if self._usable(manifest["release"]):
                applied = float(manifest.get("applied", 0))
                found.append(Generation(number, manifest["release"], applied, number == order[-1]))
        return found

    def snapshot(self, number: int) -> Snapshot:
        """The files of a generation."""
        return Snapshot(self._root / str(number))

    def current(self) -> int | None:
        """The number of the one in use; None before the first."""
        order = self._order()
        return order[-1] if order else None

    def choose(self, wanted: str) -> Generation:
        """The one that is meant: by its number, by a release (the one used last with it), or ``previous``.

        Raises GenerationError.
        """
        known = self.all()
        others = [each for each in known if not each.current]
        if wanted == "previous":
            chosen = others[-1:]
        elif _NUMBER.fullmatch(wanted):
            chosen = [each for each in known if each.number == int(wanted)]
        else:
            chosen = [each for each in known if each.release == wanted][-1:]
        if not chosen:
            there = "\n".join(f"  {each}" for each in known) or "  (none)"
            raise GenerationError(f"there is no generation {wanted!r} here to go back to; there are:\n{there}")
        return chosen[0]

    def record(self, release: str, files: Iterable[Path], whole: Iterable[Path], now: float) -> int:
        """What is in these files is in use from now on; returns its number, a new one only if it is new."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        order = self._order()
        number = max(order, default=0) + 1
        taken = Snapshot.take(self._root / str(number), release, files, whole, applied=now)
        for known in order:
            try:
                same = self.snapshot(known).digest() == taken.digest()
            except SnapshotError:
                continue
            if same:
                taken.remove()
                number = known
                break
        self.used(number)
        return number

    def used(self, number: int) -> None:
        """This one is in use from now on."""
        self._save([*(each for each in self._order() if each != number), number])

    def prune(self, keep: int) -> None:
        """Remove all but the `keep` used last, and those whose release is gone."""
        usable = [each.number for each in self.all()]
        kept = usable[-keep:]
        self._save([number for number in self._order() if number in kept])
        for path in self._root.iterdir() if self._root.is_dir() else []:
            if _NUMBER.fullmatch(path.name) and int(path.name) not in kept:
                Snapshot(path).remove()

    def _order(self) -> list[int]:
        try:
            order = json.loads((self._root / _HISTORY).read_text(encoding="utf-8"))
            return [int(number) for number in order]
        except (OSError, ValueError, TypeError):
            return []

    def _save(self, order: list[int]) -> None:
        if self._root.is_dir() and order != self._order():
            ManagedFile(self._root / _HISTORY, json.dumps(order) + "\n", mode=0o600).write()
