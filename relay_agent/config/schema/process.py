# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent on its host: where mail is kept, how many processes, how it is reached."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from pydantic import Field, IPvAnyAddress

from relay_agent.config.schema.values import Duration, Section

__all__ = ["Control", "History", "Metrics", "Process", "Queue"]


class Queue(Section):
    """Where accepted mail is kept until it is delivered."""

    backend: Literal["embedded"] = Field(default="embedded", description="`embedded`: SQLite, synced before the 250.")
    directory: Path = Field(
        default=Path("/var/lib/postroad/queue"),
        description="Directory on a local disk, owned by the agent's user.",
    )


class History(Section):
    """What became of each message, for `relay-agent trace` and `queue show`, in `history` below the queue's directory:
    its events in the log, with sender, recipients, message id and the client's address; never its content.
    """

    enabled: bool = Field(default=True, description="`false`: nothing is kept, and what was kept is removed.")
    keep: Duration = Field(
        default=30 * 86_400.0,
        ge=3600,
        description="How long events are kept. They are forgotten a day's file at a time, so up to a day later.",
    )
    max_size: int = Field(
        default=1_073_741_824,
        ge=16_777_216,
        strict=True,
        description="Bytes that the history may take, some 600 for a message; the oldest events go first.",
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


class Metrics(Section):
    """Where Prometheus reads the metrics, `/metrics`, and others whether the agent takes mail, `/healthz`.

    Without the section there is no such port; `relay-agent metrics` prints the same.
    """

    address: IPvAnyAddress = Field(
        default=ip_address("127.0.0.1"),
        description="IP address of this host to listen on. Everybody who reaches it may read: beyond the host itself, "
        "let the firewall name who does.",
    )
    port: int = Field(
        default=9465, ge=1024, le=65535, strict=True, description="TCP port; the agent has no right to lower ones."
    )
