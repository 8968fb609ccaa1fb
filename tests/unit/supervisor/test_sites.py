# SPDX-License-Identifier: GPL-3.0-or-later
"""From the worker with the session to the workers with the mail, by way of the supervisor."""

from __future__ import annotations

import socket
from typing import Any, cast

import pytest

from relay_agent.control.protocol import FAILED, ControlError
from relay_agent.delivery.calling import Call, SitesBusyError
from relay_agent.policy.buckets import Buckets
from relay_agent.supervisor.channel import Channel
from relay_agent.supervisor.sites import Sites, site_commands
from relay_agent.supervisor.stores import RemoteStore

CALL = Call("site", ("site.test",))


class Store:
    """A store in some worker, or in none."""

    def __init__(self, number: int, answer: dict[str, Any] | ControlError) -> None:
        self.number = number
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def call(self, command: str, arguments: dict[str, Any], *, within: float = 60.0) -> Any:
        self.asked.append((command, arguments))
        if isinstance(self.answer, ControlError):
            raise self.answer
        return self.answer


class Line:
    """A worker's end and a supervisor's, whose stores can be changed."""

    def __init__(self, *stores: Store) -> None:
        self.stores = list(stores)
        ours, theirs = socket.socketpair()
        self.supervisor = Channel(ours, site_commands(lambda: cast(list[RemoteStore], self.stores)), lambda: None)
        self.worker = Channel(theirs, {}, lambda: None)
        self.sites = Sites(self.worker, Buckets())

    def close(self) -> None:
        self.worker.close()
        self.supervisor.close()


async def test_all_stores_are_asked_and_added_up() -> None:
    line = Line(
        Store(0, {"messages": 2}), Store(3, {"messages": 0}), Store(4, {"unknown": []}), Store(7, {"messages": 1})
    )
    try:
        assert await line.sites.count(CALL) == {0: 2, 7: 1}
        assert await line.sites.called(CALL) == 3
        asked = [("site.count", {"call": CALL.export()}), ("site.called", {"call": CALL.export()})]
        assert all(store.asked == asked for store in line.stores)
    finally:
        line.close()


async def test_one_store_collects_at_a_time() -> None:
    line = Line(Store(0, {"sent": 2, "complete": False}), Store(1, {"unknown": []}))
    try:
        assert await line.sites.collect(0, CALL, "name", "site.test", "192.0.2.1") == (2, False)
        assert await line.sites.collect(1, CALL, "name", "site.test", "192.0.2.1") == (0, True), "emptied meanwhile"
        assert await line.sites.collect(9, CALL, "name", "site.test", "192.0.2.1") == (0, True), "gone"
        assert [command for command, _ in line.stores[0].asked] == ["site.collect"]
    finally:
        line.close()


async def test_trouble_is_told_in_words() -> None:
    line = Line(Store(0, {"messages": 1}), Store(1, ControlError(FAILED, "open in no worker at the moment")))
    try:
        for asking in (line.sites.count, line.sites.called):
            with pytest.raises(SitesBusyError, match="open in no worker"):
                await asking(CALL)
        with pytest.raises(SitesBusyError, match="open in no worker"):
            await line.sites.collect(1, CALL, "name", "site.test", "")
        line.supervisor.close()
        with pytest.raises(SitesBusyError, match="has ended"):
            await line.sites.count(CALL)
    finally:
        line.close()


async def test_an_account_that_calls_on_and_on_has_to_wait() -> None:
    line = Line()
    try:
        assert [line.sites.wait("site") for _ in range(20)] == [0.0] * 20
        assert 0 < line.sites.wait("site") <= 15
        assert line.sites.wait("other") == 0.0
    finally:
        line.close()
