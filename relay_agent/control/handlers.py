# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running agent answers at its control socket.

The supervisor's part only: what it asks of each store is in `store_commands`, with all that this takes of queue and
delivery, which the supervisor has no other use for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from .merge import StoreCommands, merge_delivery, merge_numbers, merged_queue_handlers
from .merge_operator import merged_operator_handlers
from .protocol import FAILED, ControlError
from .server import Handler

__all__ = ["StatusSource", "control_handlers"]

_NO_MESSAGES = {"messages": 0, "recipients": 0, "held": 0, "bytes": 0}


class StatusSource(Protocol):
    """The agent, as far as the control socket needs it."""

    async def status(self) -> Mapping[str, Any]:
        """The agent's state less its queue, JSON-ready; times in seconds, sizes in bytes."""

    async def reload(self) -> str | None:
        """Read configuration, accounts and certificate anew; None, or what is wrong with them."""

    async def reload_accounts(self) -> str | None:
        """Read only the accounts anew; None, or what is wrong with them."""

    async def reload_keys(self) -> str | None:
        """Read only the DKIM keys anew; None, or what is wrong with them."""


def control_handlers(source: StatusSource, stores: Callable[[], Sequence[StoreCommands]]) -> dict[str, Handler]:
    """All commands of a running agent, over the stores that it has at the moment of each call."""

    async def status(arguments: dict[str, Any]) -> dict[str, Any]:
        parts, unopened = [], []
        for answer in await asyncio.gather(
            *(store.call("store.status", {}) for store in stores()), return_exceptions=True
        ):
            if not isinstance(answer, BaseException):
                parts.append(answer)
            elif isinstance(answer, ControlError) and arguments.get("partly"):
                unopened.append(str(answer))
            else:
                raise answer  # whoever counts on the numbers is not given those of a part of the queue
        return {
            **await source.status(),
            **({"unopened": unopened} if unopened else {}),
            "queue": merge_numbers([_NO_MESSAGES, *(part["queue"] for part in parts)]),
            "delivery": merge_delivery([part["delivery"] for part in parts]),
        }

    async def reload(_: dict[str, Any]) -> None:
        _refuse(await source.reload())

    async def reload_accounts(_: dict[str, Any]) -> None:
        _refuse(await source.reload_accounts())

    async def reload_keys(_: dict[str, Any]) -> None:
        _refuse(await source.reload_keys())

    return {
        **merged_queue_handlers(stores),
        **merged_operator_handlers(stores),
        "status": status,
        "reload": reload,
        "accounts.reload": reload_accounts,
        "dkim.reload": reload_keys,
    }


def _refuse(problem: str | None) -> None:
    if problem is not None:
        raise ControlError(FAILED, problem)
