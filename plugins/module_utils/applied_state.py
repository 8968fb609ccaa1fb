# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent last came up with: the reference for what has to be done now, and the way back.

Kept in a directory that only root reads: a copy of the configuration and the units, and a small record. It is
written after the agent said it was ready, so a run that broke off in the middle is seen by the next one.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from .managed_files import ManagedFile

__all__ = ["Action", "AppliedState", "AppliedStore", "decide"]


@dataclass(frozen=True)
class AppliedState:
    """Hashes of what the agent depends on, by what a difference asks for."""

    release: str
    config: str
    service: str
    socket: str
    reloadable: str
    """The upstream secrets: read again on reload."""


@dataclass(frozen=True)
class Action:
    """What has to happen for the agent to run with the wanted state; at most one is true."""

    restart_sockets: bool = False
    restart: bool = False
    reload: bool = False

    @property
    def needed(self) -> bool:
        """Whether anything has to happen."""
        return self.restart_sockets or self.restart or self.reload

    def __str__(self) -> str:
        if self.restart_sockets:
            return "restarted, ports opened anew"
        if self.restart:
            return "restarted"
        return "reloaded" if self.reload else "left alone"


def decide(applied: AppliedState | None, wanted: AppliedState, *, service_up: bool, socket_up: bool) -> Action:
    """The gentlest action that gets from what was applied to what is wanted."""
    if applied is None or not socket_up or applied.socket != wanted.socket:
        return Action(restart_sockets=True)
    same = (applied.release, applied.config, applied.service) == (wanted.release, wanted.config, wanted.service)
    if not service_up or not same:
        return Action(restart=True)
    return Action(reload=applied.reloadable != wanted.reloadable)


class AppliedStore:
    """The directory `root` with the record `state.json` and a copy of each file."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def load(self) -> AppliedState | None:
        """What was applied last; None when nothing was, or when the record cannot be read."""
        try:
            return AppliedState(**json.loads((self.root / "state.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, state: AppliedState, files: list[ManagedFile]) -> None:
        """Remember `state` together with `files`; the directory is replaced as a whole."""
        new = self.root.with_name(f".{self.root.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True, mode=0o700)
        for file in files:
            ManagedFile(new / file.path.name, file.content, mode=0o600).write()
        record = json.dumps(asdict(state), indent=2) + "\n"
        ManagedFile(new / "state.json", record, mode=0o600).write()
        shutil.rmtree(self.root, ignore_errors=True)
        new.rename(self.root)

    def previous(self, files: list[ManagedFile]) -> list[ManagedFile] | None:
        """`files` with the content that was applied last; None unless all of them are there."""
        if self.load() is None:
            return None
        contents = [ManagedFile(self.root / file.path.name, "").current() for file in files]
        if None in contents:
            return None
        return [
            ManagedFile(file.path, content or "", mode=file.mode, group=file.group)
            for file, content in zip(files, contents, strict=True)
        ]
