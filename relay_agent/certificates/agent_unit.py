# SPDX-License-Identifier: GPL-3.0-or-later
"""The running agent, as systemd has it: asked whether it runs, and told to take up a new certificate."""

from __future__ import annotations

import subprocess
from pathlib import Path

from relay_agent.drained import drained

from .problem import CertificateError

__all__ = ["AgentUnit"]

_UNIT = "relay-agent.service"
_WITHIN = 120.0  # seconds


class AgentUnit:
    """The agent's service on this host. config: its configuration file."""

    def __init__(self, config: Path) -> None:
        self._config = config

    def running(self) -> bool:
        """Whether the service runs; a drained host's does, too, and listens nowhere."""
        return self._systemctl("is-active", "--quiet").returncode == 0

    def drained(self) -> bool:
        """Whether the host is drained: all ports are closed."""
        return drained(self._config) is not None

    def reload(self) -> None:
        """Begin a reload, in which no session ends. Raises CertificateError when the agent refuses it at once."""
        done = self._systemctl("reload")
        if done.returncode != 0:
            raise CertificateError(f"{_UNIT} could not be reloaded: {' '.join(done.stderr.split())}")

    @staticmethod
    def _systemctl(*action: str) -> subprocess.CompletedProcess[str]:
        command = ["systemctl", *action, _UNIT]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CertificateError(f"systemctl {action[0]} {_UNIT}: {error}") from None
