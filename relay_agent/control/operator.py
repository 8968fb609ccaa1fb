# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator does to one store: search it, and hold, release, retry, delete or bounce what was found.

Each command does one short go, and says where the next begins: whoever asks can show how far it is, and stop.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Protocol

from relay_agent.config.schema import Config
from relay_agent.control.protocol import BAD_REQUEST, FAILED, NOT_FOUND, ControlError
from relay_agent.control.queue_view import describe
from relay_agent.control.selecting import cursor_from, selection_from
from relay_agent.control.server import Handler
from relay_agent.delivery.hand import Hand
from relay_agent.observability.log import EventLog
from relay_agent.queue.body import FileBody, MemoryBody
from relay_agent.queue.model import Body, Message, Update
from relay_agent.queue.selection import Cursor, Match, OperatedStore

__all__ = ["ACTIONS", "Carrying", "Office", "operator_handlers"]

ACTIONS: Final = ("count", "hold", "release", "retry", "delete", "bounce")
_MARKS: Final = {"hold": "held", "release": "released", "retry": "due"}
_EVENTS: Final = {"hold": "operator_held", "release": "operator_released", "retry": "operator_retried"}
_PIECE: Final = 1 << 20  # bytes of content in an answer
_MOST_SHOWN: Final = 100  # recipients named in a log line
_GAVE_UP: Final = "5.4.7"


class Carrying(Protocol):
    """The delivery side, as far as these commands need it."""

    def wake(self) -> None: ...

    def forget(self, queue_ids: Sequence[str]) -> None: ...

    def in_hand(self, queue_ids: Iterable[str]) -> set[str]: ...

    def submit(self, message: Message) -> None: ...


class Signing(Protocol):
    """Signs mail of our own."""

    async def signed(self, body: Body, queue_id: str) -> Body: ...


@dataclass
class Office:
    """What the commands need beside the store. config: as it is now; None where no bounce can be written."""

    log: EventLog = field(default_factory=EventLog)
    config: Callable[[], Config | None] = lambda: None
    signer: Signing | None = None


def operator_handlers(store: OperatedStore, carrier: Carrying | None, office: Office) -> dict[str, Handler]:
    """One store's commands; see `merge_operator` for all stores."""
    operator = _Operator(store, carrier, office)
    return {
        "queue.groups": operator.groups,
        "queue.matches": operator.matches,
        "queue.change": operator.change,
        "queue.read": operator.read,
    }


class _Operator:
    def __init__(self, store: OperatedStore, carrier: Carrying | None, office: Office) -> None:
        self._store = store
        self._carrier = carrier
        self._office = office

    async def groups(self, arguments: dict[str, Any]) -> dict[str, Any]:
        found, cursor = await self._store.groups(selection_from(arguments), cursor_from(arguments))
        return {"groups": [asdict(each) for each in found], "cursor": _json(cursor)}

    async def matches(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Messages with the recipients that fit."""
        found = await self._store.find(selection_from(arguments), cursor_from(arguments))
        items = []
        for queue_id, chosen in _by_message(found.matches).items():
            message = await self._only(queue_id, chosen)
            if message is not None:
                items.append(describe(message))
        return {"items": items, "cursor": _json(found.cursor)}

    async def change(self, arguments: dict[str, Any]) -> dict[str, Any]:
        action = arguments.get("action")
        if action not in ACTIONS:
            raise ControlError(BAD_REQUEST, f"action: expected one of {', '.join(ACTIONS)}")
        words = arguments.get("reason", "")
        if not isinstance(words, str) or len(words) > 400 or not (words.isprintable() or not words):
            raise ControlError(BAD_REQUEST, "reason: expected one line of at most 400 characters")
        selection = selection_from(arguments)
        found = await self._store.find(selection, cursor_from(arguments))
        chosen = _by_message(found.matches)
        missing = [queue_id for queue_id in selection.ids or () if queue_id not in chosen]
        unknown = [queue_id for queue_id in missing if await self._store.get(queue_id) is None]
        messages, recipients, busy = len(chosen), len(found.matches), 0
        if action in _MARKS:
            messages, recipients = await self._mark(action, chosen)
            if action == "retry" and not messages and found.cursor is None and self._carrier is not None:
                self._carrier.wake()  # troubles of hosts are forgotten, also where no mail waits for them now
        elif action != "count":
            messages, recipients, busy = await self._remove(action, chosen, words)
        return {
            "messages": messages,
            "recipients": recipients,
            "busy": busy,
            "unknown": unknown,
            "cursor": _json(found.cursor),
        }

    async def _mark(self, action: str, chosen: dict[str, list[Match]]) -> tuple[int, int]:
        # Those that are so already are not counted, nor told of.
        wanted = {
            queue_id: [each for each in matches if each.held == (action == "release")]
            for queue_id, matches in chosen.items()
        }
        wanted = {queue_id: matches for queue_id, matches in wanted.items() if matches}
        recipients = await self._store.mark(_pairs(wanted), _MARKS[action])
        if self._carrier is not None and wanted:
            if action == "hold":
                self._carrier.forget(list(wanted))
            else:
                self._carrier.wake()
        for queue_id, matches in wanted.items():
            self._tell(_EVENTS[action], queue_id, matches)
        return len(wanted), recipients

    async def _remove(self, action: str, chosen: dict[str, list[Match]], words: str) -> tuple[int, int, int]:
        """Take recipients out of the queue, with a bounce or without; messages, recipients, messages left alone.

        They are held first, so that no delivery begins meanwhile; one that is under way is left to its end.
        """
        config = self._office.config()
        if action == "bounce" and config is None:
            raise ControlError(BAD_REQUEST, "no bounce can be written here")
        await self._store.mark(_pairs(chosen), "held")
        messages = [
            message
            for queue_id, matches in chosen.items()
            if (message := await self._only(queue_id, matches)) is not None
        ]
        busy: set[str] = set()
        if self._carrier is not None:
            self._carrier.forget(list(chosen))
            busy = self._carrier.in_hand(chosen)
            await self._store.mark(
                [(each.queue_id, each.number) for key in busy for each in chosen[key] if not each.held], "released"
            )
        gone = recipients = 0
        for message in messages:
            if message.queue_id in busy:
                continue
            updates = [Update(message.queue_id, number, None) for number in message.recipients]
            bounces: list[Message] = []
            if action == "bounce" and config is not None:
                hand = Hand(message)
                hand.give_up(_GAVE_UP, _why(message, words), self._office.log)
                updates, bounces = await hand.failures(config, self._office.log)
                for bounce in bounces:
                    if self._office.signer is not None:
                        bounce.body = await self._office.signer.signed(bounce.body, bounce.queue_id)
            await self._store.record(updates, bounces)
            if action == "delete":
                self._tell("operator_deleted", message.queue_id, chosen[message.queue_id])
            for bounce in bounces:
                if self._carrier is not None:
                    self._carrier.submit(bounce)
            gone += 1
            recipients += len(updates)
        return gone, recipients, len(busy)

    async def read(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """A piece of a message's content, in base64."""
        queue_id, offset = arguments.get("id"), arguments.get("offset", 0)
        if not isinstance(queue_id, str) or not isinstance(offset, int) or not 0 <= offset < 1 << 50:
            raise ControlError(BAD_REQUEST, "expected a queue id and an offset")
        message = await self._store.get(queue_id.upper())
        if message is None:
            raise ControlError(NOT_FOUND, f"{queue_id.upper()} is not in the queue")
        try:
            in_memory = isinstance(message.body, MemoryBody)
            piece = _piece(message.body, offset) if in_memory else await asyncio.to_thread(_piece, message.body, offset)
        except FileNotFoundError:
            raise ControlError(NOT_FOUND, f"{message.queue_id} has left the queue") from None
        except OSError as error:
            raise ControlError(FAILED, f"{message.queue_id}: {error}") from None
        return {"content": base64.b64encode(piece).decode("ascii"), "more": offset + len(piece) < message.body.size}

    async def _only(self, queue_id: str, matches: Sequence[Match]) -> Message | None:
        """The message with these recipients alone; None when it has left."""
        message = await self._store.get(queue_id)
        if message is None:
            return None
        numbers = {each.number for each in matches}
        left = {number: each for number, each in message.recipients.items() if number in numbers}
        return replace(message, recipients=left) if left else None

    def _tell(self, event: str, queue_id: str, matches: Sequence[Match]) -> None:
        shown = [each.address for each in matches[:_MOST_SHOWN]]
        self._office.log.event(event, queue_id=queue_id, recipients=shown, more=len(matches) - len(shown) or None)


def _json(cursor: Cursor | None) -> list[int] | None:
    return None if cursor is None else list(cursor)


def _why(message: Message, words: str) -> str:
    if words:
        return f"the operator of the relay gave up on it: {words}"
    last = next((each.last_reply for each in message.recipients.values() if each.last_reply), "")
    return "the operator of the relay gave up on it" + (f"; the last answer was: {last}" if last else "")


def _by_message(matches: Iterable[Match]) -> dict[str, list[Match]]:
    found: dict[str, list[Match]] = {}
    for each in matches:
        found.setdefault(each.queue_id, []).append(each)
    return found


def _pairs(chosen: dict[str, list[Match]]) -> list[tuple[str, int]]:
    return [(each.queue_id, each.number) for matches in chosen.values() for each in matches]


def _piece(body: Body, offset: int) -> bytes:
    if isinstance(body, FileBody):
        inside = offset - len(body.prefix)
        if inside < 0:
            return body.prefix[offset:]
        with body.path.open("rb", buffering=0) as file:
            file.seek(body.offset + inside)
            piece = file.read(min(_PIECE, body.size - offset)) if offset < body.size else b""
        if not piece and offset < body.size:
            raise OSError(f"{body.path} ends early")
        return piece
    return body.read()[offset : offset + _PIECE]
