# SPDX-License-Identifier: GPL-3.0-or-later
"""Has the agent's own command make the accounts of a host those of a list, and tells what became of it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["AccountSyncError", "Synced", "planned_names", "sync_accounts"]

RunCommand = Callable[..., tuple[int, str, str]]


class AccountSyncError(Exception):
    """The accounts could not be set; the text says why and has no password."""


@dataclass(frozen=True)
class Synced:
    """What differed, by name. agent: "reloaded" or "not running", else why the running agent has not taken the accounts
    up; None when it was not told, because nothing changed or in check mode."""

    changed: bool
    added: Sequence[str] = ()
    updated: Sequence[str] = ()
    removed: Sequence[str] = ()
    agent: str | None = None

    @property
    def lines(self) -> str:
        """As a diff shows it: names and what happened to each, never a password or a hash."""
        parts = (("added", self.added), ("updated", self.updated), ("removed", self.removed))
        return "".join(f"{name} {what}\n" for what, names in parts for name in names) or "an empty list\n"

    @property
    def refused(self) -> str:
        """Why the running agent goes on with the accounts that it had; "" when it does not."""
        return self.agent if self.agent not in (None, "reloaded", "not running") else ""


def sync_accounts(
    run_command: RunCommand, program: str, file: Path, wanted: Sequence[Mapping[str, Any]], *, check_mode: bool
) -> Synced:
    """Run `program` (a release's relay-agent); the list goes to its standard input. Raises AccountSyncError."""
    command = [program, "account", "sync", "--json", "--file", str(file), *(["--check"] if check_mode else [])]
    status, output, errors = run_command(command, data=json.dumps(list(wanted)))
    if status != 0:
        raise AccountSyncError(f"the accounts could not be set: {errors.strip() or output.strip()}")
    result: dict[str, Any] = json.loads(output)
    return Synced(result["changed"], result["added"], result["updated"], result["removed"], result.get("agent"))


def planned_names(wanted: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of accounts as the agent will keep them (RFC 8265), for a host that does not have the agent yet."""
    normal = (unicodedata.normalize("NFC", unicodedata.normalize("NFC", each["name"]).lower()) for each in wanted)
    return sorted(normal)
