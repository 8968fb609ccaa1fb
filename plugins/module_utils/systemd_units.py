# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd has to do and to say about the agent's two units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .live_reload import ReloadError, agent_status, follow_reload

__all__ = ["SERVICE", "SOCKET", "CommandRunner", "UnitError", "UnitState", "Units"]

SERVICE = "relay-agent.service"
SOCKET = "relay-agent.socket"

_PROPERTIES = "Id,ActiveState,SubState,UnitFileState,NeedDaemonReload"
_RELOADS_WITHIN = 120.0  # seconds; a queue that gets an index at a new release's first start takes some of it


class CommandRunner(Protocol):
    """What `AnsibleModule.run_command` looks like to us."""

    def __call__(self, args: list[str], /) -> tuple[int, str, str]:
        """Run a command; return its exit status, stdout and stderr."""


class UnitError(Exception):
    """systemd refused, or a unit did not come up; the text says which and why."""


@dataclass(frozen=True)
class UnitState:
    """A unit as systemd sees it."""

    active: bool = False
    enabled: bool = False
    needs_reload: bool = False


class Units:
    """The agent's socket unit and service unit."""

    def __init__(self, run_command: CommandRunner, drained: Path = Path("/etc/postroad/drained.json")) -> None:
        self._run = run_command
        self._drained = drained  # while this file is there, the socket unit does not start, and shall not

    def states(self) -> dict[str, UnitState]:
        """State of both units; a unit that does not exist is neither active nor enabled. Raises UnitError.

        On a drained host the socket unit counts as active: it is as it should be.
        """
        output = self._systemctl("show", f"--property={_PROPERTIES}", SOCKET, SERVICE)
        found = {SOCKET: UnitState(), SERVICE: UnitState()}
        for block in output.split("\n\n"):
            values = dict(line.partition("=")[::2] for line in block.splitlines())
            if values.get("Id") in found:
                found[values["Id"]] = UnitState(
                    active=values.get("ActiveState") in ("active", "reloading")
                    or (values["Id"] == SOCKET and self._drained.exists()),
                    enabled=values.get("UnitFileState") == "enabled",
                    needs_reload=values.get("NeedDaemonReload") == "yes",
                )
        return found

    def daemon_reload(self) -> None:
        """Have systemd read the unit files."""
        self._systemctl("daemon-reload")

    def enable(self) -> None:
        """Have both units start at boot."""
        self._systemctl("enable", "--quiet", SOCKET, SERVICE)

    def restart(self, *, sockets: bool) -> None:
        """Restart the agent and wait until it says it is ready; `sockets`: close and open the ports as well.

        Raises UnitError when it does not get ready.
        """
        self._run(["systemctl", "reset-failed", SOCKET, SERVICE])
        if sockets:
            # A socket cannot start while its service runs without it; the stop of both is ordered by systemd.
            self._systemctl("stop", SOCKET, SERVICE)
            self._systemctl("start", SOCKET)
        self._systemctl("restart", SERVICE)
        self._must_run()

    def reload(self) -> None:
        """Have the agent become the current release with what its files say now, and wait until it has.

        No session ends by it. Raises UnitError when the agent refuses, and then goes on as before, or when it stops.
        """
        before = self.agent_status()
        self._systemctl("reload", SERVICE)
        try:
            follow_reload(before, self.agent_status, self._alive, within=_RELOADS_WITHIN)
        except ReloadError as error:
            raise UnitError(str(error)) from error
        self._must_run()

    def agent_status(self) -> dict[str, Any] | None:
        """What the agent says of itself; None when none answers."""
        return agent_status(self._run)

    def _alive(self) -> bool:
        return self.states()[SERVICE].active

    def remove(self) -> None:
        """Stop both units and forget that they start at boot; for units that never worked."""
        self._run(["systemctl", "disable", "--now", "--quiet", SOCKET, SERVICE])
        self._run(["systemctl", "reset-failed", SOCKET, SERVICE])

    def journal(self, since: float, lines: int = 20) -> list[str]:
        """What the agent and systemd wrote about both units since then (seconds since 1970), newest last."""
        command = ["journalctl", f"--unit={SOCKET}", f"--unit={SERVICE}", f"--since=@{since:.0f}", f"--lines={lines}"]
        status, output, _ = self._run([*command, "--output=cat", "--no-pager", "--quiet"])
        return output.splitlines() if status == 0 else []

    def _must_run(self) -> None:
        stopped = [name for name, state in self.states().items() if not state.active]
        if stopped:
            raise UnitError(f"{' and '.join(stopped)} stopped right after the start")

    def _systemctl(self, *arguments: str) -> str:
        status, output, errors = self._run(["systemctl", *arguments])
        if status != 0:
            reason = errors.strip().splitlines()
            text = reason[0] if reason else f"exit status {status}"
            raise UnitError(f"systemctl {' '.join(arguments)}: {text}")
        return output
