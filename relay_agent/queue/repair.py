# SPDX-License-Identifier: GPL-3.0-or-later
"""What is being repaired in a store: kept on the disk until it is done and the operator was told.

A repair may be cut off at any point (the power, a full disk, an impatient service manager). Whoever opens the store
next finds `repair.json` and goes on: a database is saved anew from the file that was set aside, bodies that belong to
what was lost are put aside and not removed, and what had been found is said again.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from relay_agent.queue.directory import StoreDirectory, sync_directory
from relay_agent.whole_file import replace_file

__all__ = ["Repair", "any_under_way", "is_under_way"]

_NAME = "repair.json"


@dataclass(slots=True)
class Repair:
    """The repair of one store. `damaged`: name of the database that is set aside, "" when none is. `saved`: what could
    be read of it is whole, in `fresh` or in its place already. `lost`: there may be bodies whose messages were lost.
    """

    root: Path
    stamp: str = ""
    damaged: str = ""
    saved: bool = False
    lost: bool = False
    notices: list[str] = field(default_factory=list)
    _found: bool = False

    @classmethod
    def of(cls, directory: StoreDirectory) -> Repair:
        """The repair that was begun in a store and not ended, or one of nothing yet. Raises OSError."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = directory.root / _NAME
        for left in directory.root.glob(f".{_NAME}.*"):  # of a note that was not finished
            left.unlink()
        if not path.exists():
            return cls(directory.root, stamp)
        try:
            return cls(directory.root, **_known(json.loads(path.read_bytes())), _found=True)
        except (OSError, ValueError, RecursionError):
            # Nobody knows how far it had come, so the worst is assumed: nothing is removed, and a database that was
            # set aside without another in its place is still to be saved.
            notice = f"{path} cannot be read: how far the last repair had come is not known"
            damaged = ""
            if not directory.database.exists():
                names = sorted(each.name for each in directory.root.glob("queue.db.damaged-*[0-9Z]"))
                damaged = names[-1] if names else ""
            return cls(directory.root, stamp, damaged, lost=True, notices=[notice], _found=True)

    @property
    def fresh(self) -> Path:
        """Where what is saved of a damaged database is put together."""
        return self.root / "queue.db.saving"

    @property
    def aside(self) -> Path:
        """Where bodies go whose messages may have been lost."""
        return self.root / f"bodies.damaged-{self.stamp}"

    @property
    def damaged_database(self) -> Path:
        """The database that is set aside."""
        return self.root / self.damaged

    @property
    def is_unfinished(self) -> bool:
        """Whether a database is set aside and what can be saved of it is not in its place."""
        return bool(self.damaged) and (not self.saved or self.fresh.exists())

    def tell(self, *notices: str) -> None:
        """Add to what the operator is told, each notice once."""
        self.notices = list(dict.fromkeys([*self.notices, *notices]))

    def keep(self, directory: StoreDirectory) -> None:
        """Write down how far it has come; synced. Raises OSError."""
        path = self.root / _NAME
        said = {key: value for key, value in asdict(self).items() if key not in ("root", "_found")}
        replace_file(path, json.dumps(said).encode() + b"\n")
        directory.own(path)
        self._found = True

    def end(self) -> None:
        """It is done, and the operator was told."""
        if self._found:
            with contextlib.suppress(FileNotFoundError):
                (self.root / _NAME).unlink()
            sync_directory(self.root)
            self._found = False


def is_under_way(root: Path) -> bool:
    """Whether a repair was begun in a store's directory and is not ended."""
    return (root / _NAME).exists()


def any_under_way(directory: Path) -> bool:
    """Whether one is, or a suspect database is looked through, in any store of a queue directory. Raises nothing."""
    try:
        return any(any(directory.glob(f"*/{name}")) for name in (_NAME, "suspect"))
    except OSError:
        return False


def _known(said: Any) -> dict[str, Any]:
    """What a note says. Raises ValueError when that cannot be one."""
    names = {"stamp": str, "damaged": str, "saved": bool, "lost": bool, "notices": list}
    if not isinstance(said, dict) or any(not isinstance(said.get(name), kind) for name, kind in names.items()):
        raise ValueError("not a note of a repair")
    if "/" in said["damaged"] or "/" in said["stamp"]:
        raise ValueError("not the name of a file")
    return {name: said[name] for name in names}
