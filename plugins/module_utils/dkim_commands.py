# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's signing keys on a host, by the commands of the agent that runs there (`relay-agent dkim`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["DkimCommandError", "DkimCommands"]

PROGRAM = "/usr/local/bin/relay-agent"

RunCommand = Callable[..., tuple[int, str, str]]


class DkimCommandError(Exception):
    """The agent's command refused; the text is its own and has no key."""


class DkimCommands:
    """The keys of one domain. All methods raise DkimCommandError."""

    def __init__(self, run_command: RunCommand, domain: str, program: str = PROGRAM) -> None:
        self._run = run_command
        self._domain = domain
        self._program = program

    def keys(self) -> list[dict[str, Any]]:
        """Each key: selector, algorithm, state, since, given, delete_in, and its record as name, value and zone."""
        found = [key for key in self._json("keys") if key["domain"] == self._domain]
        if not found:
            return []
        records = {record["name"]: record for record in self._json("record", self._domain)}
        for key in found:
            record = records[key["name"]]
            key.update(value=record["value"], zone=record["zone"])
        return found

    def published(self) -> list[dict[str, Any]]:
        """What the host's resolvers and each name server of the domain say of each key, a row for each."""
        # Status 1 is an answer: that of a record which does not fit.
        rows: list[dict[str, Any]] = self._json("check", self._domain, "--everywhere", statuses=(0, 1))["keys"]
        return rows

    def make(self, selector: str, algorithm: str) -> None:
        """New pending keys: `selector`-rsa and `selector`-ed25519, or just `selector` when there is one."""
        self._json("new", self._domain, "--selector", selector, "--algorithm", algorithm)

    def export(self, selector: str) -> str:
        """A key's file. Secret."""
        return self._command("export", self._domain, selector)

    def add(self, selector: str, key: str) -> None:
        """Keep a key that `export` gave elsewhere."""
        self._json("import", self._domain, selector, data=key)

    def activate(self, selector: str) -> None:
        """Let a key sign, retire the one before. Raises DkimCommandError also when the agent goes on with the old."""
        self._told(self._json("activate", self._domain, selector))

    def delete(self, selector: str, *, force: bool) -> None:
        """Remove a key for good."""
        self._told(self._json("delete", self._domain, selector, *(["--force"] if force else [])))

    def _told(self, result: dict[str, Any]) -> None:
        if result["agent"] not in ("reloaded", "not running"):
            raise DkimCommandError(f"the running agent goes on with the keys that it had: {result['agent']}")

    def _json(self, *arguments: str, data: str | None = None, statuses: Sequence[int] = (0,)) -> Any:
        output = self._command(*arguments, "--json", data=data, statuses=statuses)
        try:
            return json.loads(output)
        except ValueError:
            raise DkimCommandError(f"relay-agent dkim {arguments[0]}: no JSON came back") from None

    def _command(self, *arguments: str, data: str | None = None, statuses: Sequence[int] = (0,)) -> str:
        status, output, errors = self._run([self._program, "dkim", *arguments], data=data)
        if status not in statuses or (status != 0 and not output):
            said = errors.strip() or f"exit status {status}"
            raise DkimCommandError(f"relay-agent dkim {arguments[0]} {self._domain}: {said}")
        return output
