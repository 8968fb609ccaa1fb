# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker's way to the supervisor's lease office."""

from __future__ import annotations

from collections.abc import Awaitable

from relay_agent.supervisor.channel import Channel

__all__ = ["ChannelLessor"]


class ChannelLessor:
    """The lease office, over the channel; a `Lessor`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def take(self, key: str, limit: int, amount: int) -> Awaitable[int]:
        """As of `Lessor`. Raises ControlError when the supervisor ends."""
        # However long it takes: what the office grants it has booked, and nobody would ever give back what was not
        # waited for.
        return self._channel.call("lease.take", key=key, limit=limit, amount=amount, within=None)

    def give(self, key: str, amount: int) -> None:
        """As of `Lessor`."""
        self._channel.notice("lease.give", key=key, amount=amount)
