# SPDX-License-Identifier: GPL-3.0-or-later
"""One queue out of several stores: the commands of the control socket, put together from each store's answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from .protocol import NOT_FOUND, ControlError
from .queue_view import PAGE
from .server import Handler

__all__ = ["LocalStore", "StoreCommands", "merge_delivery", "merge_numbers", "merged_queue_handlers"]

_SUMMED = ("queue.retry", "queue.delete")


class StoreCommands(Protocol):
    """One store's commands, as `queue_handlers` names them, wherever the store is open."""

    async def call(self, command: str, arguments: dict[str, Any]) -> Any:
        """The result of a command. Raises ControlError."""


class LocalStore:
    """A store that is open in this process."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers

    async def call(self, command: str, arguments: dict[str, Any]) -> Any:
        return await self._handlers[command](arguments)


def merged_queue_handlers(stores: Callable[[], Sequence[StoreCommands]]) -> dict[str, Handler]:
    """The queue's commands over all stores that `stores` names at the moment of the call."""

    async def listing(arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        limit = arguments.get("limit", 1000)
        lists = [_Pages(store, limit) for store in stores()]
        for each in lists:
            await each.fill()
        return _oldest_first(lists, limit)

    async def show(arguments: dict[str, Any]) -> Any:
        missing: ControlError | None = None
        for store in stores():
            try:
                return await store.call("queue.show", arguments)
            except ControlError as error:
                if error.code != NOT_FOUND:
                    raise
                missing = error
        raise missing or ControlError(NOT_FOUND, f"{arguments.get('id')} is not in the queue")

    def summed(command: str) -> Handler:
        async def run(arguments: dict[str, Any]) -> dict[str, Any]:
            return merge_answers([await store.call(command, arguments) for store in stores()])

        return run

    return {"queue.list": listing, "queue.show": show, **{command: summed(command) for command in _SUMMED}}


def merge_answers(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers added up; unknown is what no store knows."""
    merged: dict[str, Any] = merge_numbers(answers)
    unknown = [list(answer.get("unknown", ())) for answer in answers]
    merged["unknown"] = [each for each in unknown[0] if all(each in other for other in unknown)] if unknown else []
    return merged


def merge_numbers(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of each number that the answers have."""
    merged: dict[str, Any] = {}
    for answer in answers:
        for key, value in answer.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                merged[key] = merged.get(key, 0) + value
    return merged


def merge_delivery(snapshots: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One delivery side out of several: numbers added up, destinations of the same name made one; and what
    waits for sites to call in, if anything does."""
    destinations: dict[str, dict[str, Any]] = {}
    for snapshot in snapshots:
        for each in snapshot.get("destinations", ()):
            known = destinations.setdefault(each["name"], {})
            for key, value in each.items():
                if key in ("waiting", "active", "idle", "window", "messages_per_minute") and value is not None:
                    known[key] = (known.get(key) or 0) + value
                elif key in ("blocked_for", "rate_wait"):
                    known[key] = max(known.get(key, 0.0), value)
                elif known.get(key) in (None, ""):
                    known[key] = value
    ordered = sorted(destinations.values(), key=lambda each: (-each.get("waiting", 0), each["name"]))
    states = [snapshot.get("destinations_by_state", {}) for snapshot in snapshots]
    sites = merge_numbers([snapshot.get("sites", {}) for snapshot in snapshots])
    quarantined = sorted(
        (each for snapshot in snapshots for each in snapshot.get("quarantined", ())), key=lambda each: float(each["at"])
    )
    merged = {
        **merge_numbers(snapshots),
        "destinations_by_state": merge_numbers(states),
        "quarantined": quarantined,
        "destinations": ordered,
        **({"sites": sites} if sites else {}),
    }
    if any("upstreams" in snapshot for snapshot in snapshots):
        merged["upstreams"] = _merge_upstreams(snapshots)
    looks = [snapshot["port25"] for snapshot in snapshots if "port25" in snapshot]
    if looks:
        merged["port25"] = max(looks, key=lambda look: look["looked_at"] or 0.0)
    return merged


def _merge_upstreams(snapshots: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each upstream relay once, in its worst state; `troubled`: how many of the delivery sides have trouble with it."""
    merged: dict[tuple[Any, Any], dict[str, Any]] = {}
    for snapshot in snapshots:
        for each in snapshot.get("upstreams", ()):
            key = each["name"], each["user"]
            troubled = merged.get(key, {}).get("troubled", 0) + (each["state"] != "well")
            known = merged.get(key)
            if known is None or each.get("rests_for", -1.0) > known.get("rests_for", -1.0):
                known = dict(each)
            merged[key] = known | {"troubled": troubled}
    return list(merged.values())


class _Pages:
    """One store's list, a page in memory at a time."""

    def __init__(self, store: StoreCommands, limit: Any) -> None:
        self._store = store
        self._limit = limit
        self._offset = 0
        self._more = True
        self._items: list[dict[str, Any]] = []
        self._next = 0

    @property
    def head(self) -> dict[str, Any] | None:
        """The oldest that is left, None at the end."""
        return self._items[self._next] if self._next < len(self._items) else None

    async def fill(self) -> None:
        """Have a head, if there is any more."""
        if self._next < len(self._items) or not self._more:
            return
        page = await self._store.call("queue.page", {"limit": self._limit, "offset": self._offset, "page": PAGE})
        self._items, self._next, self._more = page["items"], 0, page["more"]
        self._offset += len(self._items)

    async def advance(self) -> None:
        """Go to the next."""
        self._next += 1
        await self.fill()


async def _oldest_first(lists: Sequence[_Pages], limit: int) -> AsyncIterator[dict[str, Any]]:
    count = 0
    while not limit or count < limit:
        oldest: _Pages | None = None
        for each in lists:
            head = each.head
            if head is not None and (oldest is None or head["id"] < _id(oldest)):
                oldest = each
        if oldest is None or oldest.head is None:
            return
        yield oldest.head
        count += 1
        await oldest.advance()


def _id(pages: _Pages) -> str:
    return str(pages.head["id"]) if pages.head is not None else ""
