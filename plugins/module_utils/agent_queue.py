# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's queue on this host, through the agent's own commands: how much waits, and moving all of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .service_user import CommandRunner

__all__ = ["PROGRAM", "AgentQueue", "AgentQueueError", "Waiting"]

PROGRAM = Path("/opt/postroad/current/bin/relay-agent")


class AgentQueueError(Exception):
    """The agent cannot do it; the text says why and what to do."""


@dataclass(frozen=True)
class Waiting:
    """What a host still has. held: recipients. leaving: messages that are being handed over to another host."""

    messages: int = 0
    recipients: int = 0
    held: int = 0
    leaving: int = 0

    @property
    def nothing(self) -> bool:
        """Whether the host has no mail of anybody any more."""
        return not self.messages and not self.leaving

    def __str__(self) -> str:
        held = f", {self.held} of these held" if self.held else ""
        words = f"{_many(self.messages, 'message')} for {_many(self.recipients, 'recipient')}{held}"
        return words + (f", and {_many(self.leaving, 'message')} being handed over" if self.leaving else "")


class AgentQueue:
    """The commands of `relay-agent queue` that this needs. All raise AgentQueueError."""

    def __init__(self, run_command: CommandRunner, program: Path = PROGRAM) -> None:
        self._run = run_command
        self._program = program

    def waiting(self) -> Waiting:
        """How much is here, whether the agent runs or not."""
        found = self._json("queue", "count")
        return Waiting(**{name: int(found[name]) for name in ("messages", "recipients", "held", "leaving")})

    def pack(self, path: Path, *, leave: bool = False) -> dict[str, Any]:
        """Write the queue to a file; `leave`: the mail itself, with the agent stopped."""
        return self._json("queue", "pack", "--to", str(path), *(["--leave"] if leave else []))

    def unpack(self, path: Path) -> dict[str, Any]:
        """Take a file's mail in."""
        return self._json("queue", "unpack", str(path))

    def handed_over(self, entries: list[str]) -> int:
        """Remove what another host has taken in; how many messages."""
        return int(self._json("queue", "handed-over", *entries)["messages"])

    def retry(self) -> None:
        """Have everything that is not held tried now."""
        self._json("queue", "retry", "--all")

    def status(self) -> dict[str, Any]:
        """The running agent's status."""
        return self._json("status")

    def _json(self, *arguments: str) -> dict[str, Any]:
        if not self._program.exists():
            raise AgentQueueError(f"no agent is installed here ({self._program} is not there)")
        status, output, errors = self._run([str(self._program), *arguments, "--json"])
        if status == 2 and "invalid choice" in errors:
            raise AgentQueueError(
                f"the release on this host does not know `relay-agent {' '.join(arguments[:2])}` yet: "
                "bring the host to this release with site.yml first"
            )
        try:
            found: dict[str, Any] = json.loads(output)
        except ValueError:
            found = {}
        if status != 0 and not found:
            raise AgentQueueError(errors.strip().removeprefix("relay-agent: ") or f"exit status {status}")
        return found


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
