# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which a worker ends."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ORPHANED", "REPLACED", "STOPPING", "Ending"]


@dataclass(frozen=True)
class Ending:
    """How a worker ends; all in seconds.

    linger: how long sessions may go on by themselves. sessions: what a message under way has then to arrive.
    deliveries: what an attempt under way has to end.
    """

    linger: float = 0.0
    sessions: float = 20.0
    deliveries: float = 10.0


STOPPING = Ending()
REPLACED = Ending(linger=300.0)
ORPHANED = Ending(sessions=3.0, deliveries=3.0)  # a new supervisor waits for the ports and the stores
