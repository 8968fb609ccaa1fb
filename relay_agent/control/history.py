# SPDX-License-Identifier: GPL-3.0-or-later
"""The history over the control socket: a request checked, its answer message by message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from relay_agent.control.protocol import BAD_REQUEST, ControlError
from relay_agent.history.finder import Wanted, find

from .selecting import is_time

__all__ = ["find_messages"]

_TEXTS: Final = ("anything", "queue_id", "message_id", "sender", "recipient")
_MOST: Final = 1000
_BETWEEN: Final = 0.5  # seconds from one word of progress to the next


async def find_messages(directory: Path, arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Items: messages of the history, see `find`, after word of how far it is. Raises ControlError, and OSError."""
    texts = {key: arguments[key] for key in _TEXTS if arguments.get(key) is not None}
    if not texts or not all(isinstance(each, str) and len(each) <= 2000 for each in texts.values()):
        raise ControlError(BAD_REQUEST, f"expected a text for one of {', '.join(_TEXTS)}")
    since, limit = arguments.get("since", 0.0), arguments.get("limit", 20)
    if not is_time(since):
        raise ControlError(BAD_REQUEST, "since: expected seconds since the epoch")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= _MOST:
        raise ControlError(BAD_REQUEST, f"limit: expected a number from 1 to {_MOST}")
    # What is no Unicode is in no database either.
    clean = {key: each.encode("utf-8", "replace").decode() for key, each in texts.items()}
    looked_at = 0

    def read() -> None:
        nonlocal looked_at
        looked_at += 1

    search = asyncio.ensure_future(
        asyncio.to_thread(find, directory, Wanted(since=float(since), limit=limit, **clean), read)
    )
    await asyncio.wait([search], timeout=_BETWEEN)
    if search.done():
        await search  # raises what kept it from looking before anything is answered

    async def items() -> AsyncIterator[dict[str, Any]]:
        while not search.done():
            yield {"progress": {"files": looked_at}}
            await asyncio.wait([search], timeout=_BETWEEN)
        for message in await search:
            yield message

    return items()
