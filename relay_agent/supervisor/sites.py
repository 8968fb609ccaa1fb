# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites that call in for their mail, beyond one worker: the session is in one of them, the mail in all.

A worker asks by `Sites`, the supervisor passes it on to whoever has each store by `site_commands`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from relay_agent.control.protocol import ControlError
from relay_agent.delivery.calling import Call, SitesBusyError
from relay_agent.policy.buckets import Allowance, Rate
from relay_agent.supervisor.channel import Channel
from relay_agent.supervisor.stores import RemoteStore

__all__ = ["Sites", "site_commands"]

_LOOKS_WITHIN = 30.0  # seconds
_COLLECTION = 6 * 3600.0  # seconds that one store's part of a collection may take
_CALLS = Rate(per_hour=240, burst=20)  # of one account: each looks through all that waits


class Sites:
    """A worker's way to the mail that all workers keep for sites."""

    def __init__(self, channel: Channel, allowance: Allowance) -> None:
        self._channel = channel
        self._allowance = allowance

    def wait(self, account: str) -> float:
        """Seconds until the account may call again; 0: it may now, and this call is counted."""
        key = f"calls {account}"
        seconds = self._allowance.wait(key, _CALLS, 1)
        if not seconds:
            self._allowance.spend(key, _CALLS, 1)
        return seconds

    async def count(self, call: Call) -> dict[int, int]:
        """How many messages wait for it, by store; stores without any are left out. Raises SitesBusyError."""
        answers = await self._ask("site.count", call)
        return {int(store): count for store, count in answers.items() if count}

    async def called(self, call: Call) -> int:
        """Send what waits for the call; returns how many messages that are. Raises SitesBusyError."""
        return int(sum((await self._ask("site.called", call)).values()))

    async def collect(self, store: int, call: Call, line: str, host: str, peer: str) -> tuple[int, bool]:
        """Let a store send what waits over a line, an abstract Unix socket of this name. host, peer: the site's name
        and address. Returns how many messages the site took, and whether the line is at rest, good for another
        store. Raises SitesBusyError."""
        try:
            answer = await self._channel.call(
                "site.collect",
                store=store,
                call=call.export(),
                line=line,
                host=host,
                peer=peer,
                within=_COLLECTION,
            )
        except (ControlError, TimeoutError) as error:
            raise SitesBusyError(str(error) or "no answer in time") from error
        return int(answer["sent"]), bool(answer["complete"])

    async def _ask(self, command: str, call: Call) -> dict[str, int]:
        # In a task of its own: a session's command is in none until it first waits.
        asking = asyncio.ensure_future(self._channel.call(command, call=call.export(), within=_LOOKS_WITHIN))
        try:
            answers: dict[str, int] = await asking
        except (ControlError, TimeoutError) as error:
            raise SitesBusyError(str(error) or "no answer in time") from error
        return answers


def site_commands(stores: Callable[[], Sequence[RemoteStore]]) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """The supervisor's side. stores: all that may have mail in them."""

    def all_stores(command: str) -> Callable[[dict[str, Any]], Any]:
        async def run(arguments: dict[str, Any]) -> dict[str, int]:
            asked = stores()
            answers = await asyncio.gather(*(each.call(command, {"call": arguments["call"]}) for each in asked))
            return {
                str(store.number): int(answer.get("messages", 0)) for store, answer in zip(asked, answers, strict=True)
            }

        return run

    async def collect(arguments: dict[str, Any]) -> Any:
        store = next((each for each in stores() if each.number == arguments["store"]), None)
        if store is None:  # emptied since it was counted
            return {"sent": 0, "complete": True}
        answer = await store.call("site.collect", arguments, within=_COLLECTION)
        return answer if "complete" in answer else {"sent": 0, "complete": True}

    return {"site.count": all_stores("site.count"), "site.called": all_stores("site.called"), "site.collect": collect}
