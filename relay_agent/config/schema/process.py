# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent on its host: where mail is kept, how many processes, how it is reached."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from relay_agent.config.schema.values import Section

__all__ = ["Control", "Process", "Queue"]


class Queue(Section):
    """Where accepted mail is kept until it is delivered."""

    backend: Literal["embedded"] = Field(default="embedded", description="`embedded`: SQLite, synced before the 250.")
    directory: Path = Field(
        default=Path("/var/lib/postroad/queue"),
        description="Directory on a local disk, owned by the agent's user.",
    )


class Process(Section):
    """How the agent uses this host."""

    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Processes that take and deliver mail, under one that supervises them; 0: one for each core.",
    )


class Control(Section):
    """How `relay-agent status` and `relay-agent queue` reach the running agent."""

    socket: Path = Field(default=Path("/run/postroad/control.sock"), description="Unix socket of the running agent.")
