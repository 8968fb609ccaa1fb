# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent last came up with: the reference for what has to be done now.

A small record, written after the agent said that it was ready, so a run that broke off in the middle is seen by the
next one. The files themselves are kept by `generations`.
"""

from __future__ import annotations

import json
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
    """The upstream secrets."""


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
    """The gentlest action that gets from what was applied to what is wanted.

    The agent takes up all but its units by a reload in place, in which no session ends.
    """
    if applied is None or not socket_up or applied.socket != wanted.socket:
        return Action(restart_sockets=True)
    if not service_up or applied.service != wanted.service:
        return Action(restart=True)
    return Action(reload=applied != wanted)


class AppliedStore:
    """The directory `root` with the record `state.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def load(self) -> AppliedState | None:
        """What was applied last; None when nothing was, or when the record cannot be read."""
        try:
            return AppliedState(**json.loads((self.root / "state.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, state: AppliedState) -> None:
        """Remember `state`."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        record = json.dumps(asdict(state), indent=2) + "\n"
        ManagedFile(self.root / "state.json", record, mode=0o600).write()
