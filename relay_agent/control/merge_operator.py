# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's commands over all stores: go after go, with word of how far it is.

Those that take long answer with items: ``{"progress": {...}}`` now and then, and what was asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from relay_agent.control.merge import StoreCommands
from relay_agent.control.protocol import NOT_FOUND, ControlError
from relay_agent.control.selecting import selection_from
from relay_agent.control.server import Handler

__all__ = ["OTHERS", "merged_operator_handlers"]

_MOST_GROUPS: Final = 2000  # kept; what is beyond them is one group
OTHERS: Final = "(others)"
_COUNTED: Final = ("messages", "recipients", "busy")


def merged_operator_handlers(stores: Callable[[], Sequence[StoreCommands]]) -> dict[str, Handler]:
    """The commands over all stores that `stores` names at the moment of the call."""

    async def groups(arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        selection_from(arguments)
        return _groups(stores(), arguments)

    async def change(arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        selection_from(arguments)
        return _change(stores(), arguments)

    async def matches(arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        selection_from(arguments)
        return _matches(stores(), arguments)

    async def read(arguments: dict[str, Any]) -> Any:
        missing = ControlError(NOT_FOUND, f"{arguments.get('id')} is not in the queue")
        for store in stores():
            try:
                return await store.call("queue.read", arguments)
            except ControlError as error:
                if error.code != NOT_FOUND:
                    raise
                missing = error
        raise missing

    return {"queue.groups": groups, "queue.change": change, "queue.matches": matches, "queue.read": read}


async def _goes(store: StoreCommands, command: str, arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    cursor = None
    while True:
        answer = await store.call(command, {**arguments, "cursor": cursor})
        yield answer
        cursor = answer.get("cursor")
        if cursor is None:
            return


async def _groups(stores: Sequence[StoreCommands], arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Items: progress, then a group each, the largest first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    looked_at = 0
    for store in stores:
        async for answer in _goes(store, "queue.groups", arguments):
            for group in answer.get("groups", ()):
                key = group["destination"], group["reason"]
                if key not in found and len(found) >= _MOST_GROUPS:
                    key = OTHERS, ""
                known = found.get(key)
                if known is None:
                    found[key] = {**group, "destination": key[0], "reason": key[1]}
                else:
                    _add(known, group)
                looked_at += group["recipients"]
            yield {"progress": {"recipients": looked_at}}
    for group in sorted(found.values(), key=lambda each: (-each["recipients"], each["destination"], each["reason"])):
        yield {"group": group}


def _add(known: dict[str, Any], group: dict[str, Any]) -> None:
    known["recipients"] += group["recipients"]
    known["held"] += group["held"]
    known["oldest"] = min(known["oldest"], group["oldest"])
    times = [each["next_attempt"] for each in (known, group) if each["next_attempt"] is not None]
    known["next_attempt"] = min(times, default=None)


async def _change(stores: Sequence[StoreCommands], arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Items: progress, then the sums; unknown is what no store knows."""
    sums: dict[str, Any] = dict.fromkeys(_COUNTED, 0)
    unknown: list[str] | None = None
    for store in stores:
        async for answer in _goes(store, "queue.change", arguments):
            for key in _COUNTED:
                sums[key] += answer.get(key, 0)
            missing = answer.get("unknown", [])
            unknown = missing if unknown is None else [each for each in unknown if each in missing]
            yield {"progress": dict(sums)}
    ids = selection_from(arguments).ids or ()
    yield {"done": {**sums, "unknown": list(ids) if unknown is None else unknown}}


async def _matches(stores: Sequence[StoreCommands], arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Items: a message each, with the recipients that fit, oldest first within each store; and progress."""
    limit = arguments.get("limit", 0)
    left = limit if isinstance(limit, int) and limit > 0 else -1
    found = 0
    for store in stores:
        async for answer in _goes(store, "queue.matches", arguments):
            for item in answer.get("items", ()):
                if not left:
                    return
                left -= 1
                found += len(item.get("recipients", ()))
                yield item
            yield {"progress": {"recipients": found}}
