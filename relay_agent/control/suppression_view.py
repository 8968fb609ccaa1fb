# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands on the suppression list; the supervisor answers them, or the command line where no agent runs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from relay_agent.suppression.book import Book
from relay_agent.suppression.entry import Entry, Gone

from .protocol import BAD_REQUEST, FAILED, NOT_FOUND, ControlError
from .server import Handler

__all__ = ["suppression_handlers"]

_MOST_RECIPIENTS = 100


def suppression_handlers(book: Book) -> dict[str, Handler]:
    """By name. The results of those that change something have the `changes` for the workers, JSON-ready."""

    async def listing(arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        limit, cause = arguments.get("limit", 0), arguments.get("cause", "")
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise ControlError(BAD_REQUEST, "limit: expected a number, 0 or more")
        found = [entry for entry in book if cause in ("", entry.cause)]
        return _stream(found[-limit:] if limit else found)

    async def show(arguments: dict[str, Any]) -> list[dict[str, Any]]:
        address = _text(arguments, "address")
        found = book.of(address)
        if not found:
            raise ControlError(NOT_FOUND, f"{address} is not on the suppression list")
        return [entry.record() for entry in found]

    async def add(arguments: dict[str, Any]) -> dict[str, Any]:
        address, owner = _text(arguments, "address"), _text(arguments, "account")
        with _Refusals(book):
            try:
                changes = book.add(address, owner, _text(arguments, "reason"), time.time())
            except ValueError as error:
                raise ControlError(BAD_REQUEST, str(error)) from None
        return {"entry": next(each.record() for each in changes if isinstance(each, Entry)), **_told(changes)}

    async def remove(arguments: dict[str, Any]) -> dict[str, Any]:
        address = _text(arguments, "address")
        owner = arguments.get("account")
        with _Refusals(book):
            changes = book.remove(address, owner if isinstance(owner, str) else None)
        if not changes:
            raise ControlError(NOT_FOUND, f"{address} is not on the suppression list")
        return {"removed": len(changes), **_told(changes)}

    async def report(arguments: dict[str, Any]) -> dict[str, Any]:
        recipients = arguments.get("recipients")
        if not isinstance(recipients, list) or not all(isinstance(each, str) for each in recipients):
            raise ControlError(BAD_REQUEST, "recipients: expected a list of addresses")
        now, changes = time.time(), list[Entry | Gone]()
        owner, reason, sender = (_text(arguments, key) for key in ("owner", "reason", "sender"))
        with _Refusals(book):
            for address in recipients[:_MOST_RECIPIENTS]:
                changes += book.complained(address, owner, reason, sender, now)
        return {"entries": [each.record() for each in changes if isinstance(each, Entry)], **_told(changes)}

    return {
        "suppression.list": listing,
        "suppression.show": show,
        "suppression.add": add,
        "suppression.remove": remove,
        "suppression.report": report,
    }


class _Refusals:
    """What the disk refuses, in words."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise ControlError(FAILED, f"{self._book.path}: {error.strerror or error}") from None


def _told(changes: list[Entry | Gone]) -> dict[str, Any]:
    return {"changes": [change.record() for change in changes]}


async def _stream(entries: list[Entry]) -> AsyncIterator[dict[str, Any]]:
    for entry in entries:
        yield entry.record()


def _text(arguments: dict[str, Any], key: str) -> str:
    value = arguments.get(key)
    if not isinstance(value, str) or len(value) > 1000:
        raise ControlError(BAD_REQUEST, f"{key}: expected text")
    return value
