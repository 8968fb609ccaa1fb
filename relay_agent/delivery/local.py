# SPDX-License-Identifier: GPL-3.0-or-later
"""What delivery asks and tells the rest of the agent of recipients: who is here, and how others fared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from relay_agent.delivery.outcome import Deferred, Outcome
from relay_agent.queue.model import Message

__all__ = ["Local", "Nobody"]


class Local(Protocol):
    """Recipients whose mail ends in this agent, and a listener to the outcomes of all others."""

    def takes(self, address: str) -> bool:
        """Whether mail to this recipient goes nowhere else."""

    async def take(self, message: Message) -> Outcome:
        """Do what the message is for; it is not to be sent on."""

    def learn(self, message: Message, outcomes: Mapping[int, Outcome], *, by_own_host: bool) -> None:
        """How an attempt ended. by_own_host: MX hosts of the recipients' domain have answered. Never raises."""


class Nobody:
    """No such recipients, and nobody who listens."""

    def takes(self, address: str) -> bool:
        """Nobody."""
        return False

    async def take(self, message: Message) -> Outcome:
        """Never called."""
        return Deferred("4.3.5", "nothing here takes mail", fault=True)

    def learn(self, message: Message, outcomes: Mapping[int, Outcome], *, by_own_host: bool) -> None:
        """Nobody wants to know."""
