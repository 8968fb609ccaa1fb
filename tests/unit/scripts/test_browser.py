# SPDX-License-Identifier: GPL-3.0-or-later
"""The talk with a browser, against one that has learnt its answers by heart."""

import json
from collections import deque
from typing import Any, cast

import pytest
from browser import BrowserError, Tab, browser
from websockets.sync.client import ClientConnection


class Scripted:
    """A connection: `events` come before the next answer; `answers` by method, {} for others."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self._waiting: deque[str] = deque()

    def send(self, text: str) -> None:
        message = json.loads(text)
        self.sent.append(message)
        self._waiting.extend(json.dumps(event) for event in self.events)
        self.events.clear()
        answer = self.answers.get(message["method"], {"result": {}})
        self._waiting.append(json.dumps({"id": message["id"], **answer}))

    def recv(self, timeout: float) -> str:
        assert timeout > 0
        return self._waiting.popleft()


@pytest.fixture
def there() -> Scripted:
    return Scripted()


@pytest.fixture
def tab(there: Scripted) -> Tab:
    return Tab(cast(ClientConnection, there))


def test_a_command_that_is_refused(there: Scripted, tab: Tab) -> None:
    there.answers["Page.captureScreenshot"] = {"error": {"message": "no such page"}}
    with pytest.raises(BrowserError, match=r"Page\.captureScreenshot: no such page"):
        tab.picture()


def test_a_page_that_does_not_open(there: Scripted, tab: Tab) -> None:
    there.answers["Page.navigate"] = {"result": {"errorText": "net::ERR_CONNECTION_REFUSED"}}
    with pytest.raises(BrowserError, match="ERR_CONNECTION_REFUSED"):
        tab.open("https://relay.example.org/")


def test_values_and_exceptions_of_scripts(there: Scripted, tab: Tab) -> None:
    there.answers["Runtime.evaluate"] = {"result": {"result": {"value": [1, "x"]}}}
    assert tab.run("[1, 'x']") == [1, "x"]
    there.answers["Runtime.evaluate"] = {
        "result": {"result": {}, "exceptionDetails": {"exception": {"description": "TypeError"}}}
    }
    with pytest.raises(BrowserError, match="nothing: TypeError"):
        tab.run("nothing")


def test_waiting_ends(there: Scripted, tab: Tab) -> None:
    there.answers["Runtime.evaluate"] = {"result": {"result": {"value": False}}}
    with pytest.raises(TimeoutError, match="a === b"):
        tab.wait_for("a === b", 0.05)
    assert there.sent[-1]["params"]["expression"] == "Boolean(a === b)"


def test_complaints_are_kept_until_the_next_page(there: Scripted, tab: Tab) -> None:
    there.events = [
        {"method": "Log.entryAdded", "params": {"entry": {"level": "error", "text": "Refused to apply inline style"}}},
        {"method": "Log.entryAdded", "params": {"entry": {"level": "info", "text": "nothing much"}}},
        {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": {"text": "Uncaught"}}},
        {"method": "Page.loadEventFired", "params": {}},
    ]
    tab.call("Page.bringToFront")
    assert tab.console == ["Refused to apply inline style", "Uncaught"]
    there.answers["Runtime.evaluate"] = {"result": {"result": {"value": True}}}
    tab.open("https://relay.example.org/")
    assert tab.console == []


def test_a_program_that_ends_at_once() -> None:
    with pytest.raises(BrowserError, match=r"did not come up \(exit status 1\)"), browser(program="false"):
        pass
