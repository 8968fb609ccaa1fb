# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that is drained: its agent holds no port, carries on what it has, and stays so until it is undrained.

A file beside the configuration tells the agent, and by a condition systemd's socket unit, so that neither a restart, a
reboot nor another run of site.yml opens the ports again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .agent_queue import AgentQueue, AgentQueueError
from .managed_files import ManagedFile
from .systemd_units import SERVICE, SOCKET, UnitError, Units

__all__ = ["DRAINED", "DrainError", "HostDrain", "is_drained"]

DRAINED = Path("/etc/postroad/drained.json")
_CONDITION = """\
# Written by drain.yml, removed by undrain.yml.
[Unit]
ConditionPathExists=!{path}
"""
_READY_WITHIN = 90.0  # seconds: sessions in the middle of a message have their time


class DrainError(Exception):
    """The host could not be drained or undrained; the text says why and how it is left."""


def is_drained(path: Path = DRAINED) -> bool:
    """Whether this host is drained."""
    return path.exists()


class HostDrain:
    """`path` is the file that says so."""

    def __init__(
        self,
        run_command: Callable[..., tuple[int, str, str]],
        queue: AgentQueue,
        *,
        path: Path = DRAINED,
        units: Path = Path("/etc/systemd/system"),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._run = run_command
        self._queue = queue
        self._path = path
        self._condition = ManagedFile(units / f"{SOCKET}.d" / "drained.conf", _CONDITION.format(path=path))
        self._sleep = sleep

    def since(self) -> dict[str, Any] | None:
        """What the file says; None while the host takes mail."""
        if not self._path.exists():
            return None
        try:
            said: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return said

    def drain(self, because: str, *, check_mode: bool) -> bool:
        """Take no more sessions; those that are under way end their message. Returns whether anything changed.

        Raises DrainError.
        """
        try:
            self._queue.waiting()  # a release that cannot be drained says so before anything is touched
            if self._path.exists() and not self._socket_active() and self._says_drained():
                return False
            if check_mode:
                return True
            self._condition.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._condition.write()
            if not self._path.exists():
                said = json.dumps({"since": time.time(), "because": because}) + "\n"
                ManagedFile(self._path, said).write()
            self._systemctl("daemon-reload")
            # By itself, or systemd would stop the service that requires it, and with it every session.
            self._systemctl("stop", "--job-mode=ignore-dependencies", SOCKET)
            active = self._run(["systemctl", "is-active", "--quiet", SERVICE])[0] == 0
            self._systemctl("reload" if active else "start", SERVICE)
            self._await(self._says_drained, "the agent does not say that it is drained")
        except (AgentQueueError, UnitError, OSError) as error:
            raise DrainError(str(error)) from error
        return True

    def undrain(self, *, check_mode: bool) -> bool:
        """Take mail again. Returns whether anything changed. Raises DrainError."""
        if not self._path.exists() and not self._condition.path.exists():
            return False
        try:
            waiting = self._queue.waiting()
            if waiting.leaving:
                raise DrainError(
                    f"{waiting.leaving} messages are being handed over to another host, which may have them already; "
                    "run drain.yml with relay_drain_to again, which ends that, and then undrain.yml"
                )
            if check_mode:
                return True
            self._path.unlink(missing_ok=True)
            self._condition.path.unlink(missing_ok=True)
            if self._condition.path.parent.is_dir() and not any(self._condition.path.parent.iterdir()):
                self._condition.path.parent.rmdir()
            self._systemctl("daemon-reload")
            Units(self._run).restart(sockets=True)
        except (AgentQueueError, UnitError, OSError) as error:
            raise DrainError(str(error)) from error
        return True

    def forget(self) -> None:
        """Remove what this wrote, without starting anything."""
        self._path.unlink(missing_ok=True)
        self._condition.path.unlink(missing_ok=True)
        if self._condition.path.parent.is_dir() and not any(self._condition.path.parent.iterdir()):
            self._condition.path.parent.rmdir()

    def _socket_active(self) -> bool:
        return self._run(["systemctl", "is-active", "--quiet", SOCKET])[0] == 0

    def _says_drained(self) -> bool:
        try:
            status = self._queue.status()
        except AgentQueueError:
            return False
        return "drained" in status and not status.get("reloading")

    def _await(self, done: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        while not done():
            if time.monotonic() > deadline:
                raise DrainError(f"{otherwise}; journalctl -u {SERVICE} has the reason")
            self._sleep(0.5)

    def _systemctl(self, *arguments: str) -> None:
        status, _, errors = self._run(["systemctl", *arguments])
        if status != 0:
            raise UnitError(f"systemctl {' '.join(arguments)}: {errors.strip() or f'exit status {status}'}")
