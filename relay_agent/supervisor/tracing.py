# SPDX-License-Identifier: GPL-3.0-or-later
"""What `relay-agent trace` asks for: the events of messages, whichever worker had them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from relay_agent.config.schema import Config
from relay_agent.control.history import find_messages
from relay_agent.control.server import Handler
from relay_agent.history.keeping import history_directory
from relay_agent.supervisor.crew import WorkerProcess

__all__ = ["trace_handlers"]

_FLUSH_WITHIN = 5.0  # seconds


def trace_handlers(workers: Callable[[], Sequence[WorkerProcess]], config: Callable[[], Config]) -> dict[str, Handler]:
    """The command ``history.find``, in which the last half second is included."""

    async def find(arguments: dict[str, Any]) -> Any:
        asked = [each for each in workers() if each.ready]
        await asyncio.gather(
            *(each.channel.call("history.flush", within=_FLUSH_WITHIN) for each in asked), return_exceptions=True
        )
        return await find_messages(history_directory(config()), arguments)

    return {"history.find": find}
