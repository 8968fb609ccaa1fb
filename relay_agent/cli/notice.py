# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells a running agent that a file it reads has changed."""

from __future__ import annotations

import sys
from pathlib import Path

from .terminal import complain, style

__all__ = ["print_told", "tell_agent"]


def tell_agent(socket: Path, command: str) -> str:
    """Have the running agent read anew: "reloaded", "not running", or why it could not."""
    from relay_agent.control.client import AgentNotRunningError, ControlClient
    from relay_agent.control.protocol import ControlError

    try:
        ControlClient(socket, timeout=10.0).call(command)
    except AgentNotRunningError:
        return "not running"
    except (ControlError, OSError) as error:
        return str(error)
    return "reloaded"


def print_told(told: str | None) -> None:
    """Say so, unless all is well or (None) nobody was told."""
    if told == "not running":
        print(style("no agent is running; it takes effect when one starts", "faint", sys.stderr), file=sys.stderr)
    elif told not in (None, "reloaded"):
        complain(f"the running agent has not taken this up: {told}")
