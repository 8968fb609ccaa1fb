# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose mail a site may call for, what a call lets go, and how long it is kept."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.delivery.calling import Call, OpenCalls, not_waiting, owned_routes, site_route, waiting, waits
from relay_agent.queue.model import Envelope, Recipient

from .memory_store import make_message

HOP = [{"host": "127.0.0.1", "port": 1, "tls": "none"}]


def config(*routes: dict[str, Any]) -> Config:
    return Config.model_validate(
        {
            "hostname": "relay.test",
            "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
            "route": [
                *routes,
                {"domains": ["shop.example"], "via": HOP},
                {"domains": ["site.test", "*.site.test"], "etrn": True, "owners": ["Site"], "via": HOP},
                {"domains": ["mobile.test"], "etrn": True, "owners": ["site", "bob"]},
                {"domains": ["other.test", "*.shop.example"], "etrn": True, "owners": ["bob"], "via": HOP},
                {"domains": ["*"], "via": HOP},
            ],
        }
    )


CONFIG = config()


@pytest.mark.parametrize(
    ("call", "covered"),
    [
        (Call("site"), {"site.test", "deep.site.test", "mobile.test"}),
        (Call("bob"), {"mobile.test", "other.test", "x.shop.example"}),
        (Call("nobody"), set()),
        (Call("site", ("site.test",)), {"site.test"}),
        (Call("site", ("site.test",), below=True), {"site.test", "deep.site.test"}),
        (Call("site", ("test",), below=True), {"site.test", "deep.site.test", "mobile.test"}),
        (Call("site", ("other.test",)), set()),
        (Call("site", ("other.test",), below=True), set()),
    ],
)
def test_a_call_covers_what_is_the_accounts(call: Call, covered: set[str]) -> None:
    names = ["site.test", "deep.site.test", "mobile.test", "other.test", "shop.example", "x.shop.example", "else.test"]
    assert {name for name in names if call.covers(CONFIG, name)} == covered
    assert Call.restore(json.loads(json.dumps(call.export()))) == call


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        (Call("site"), 2),
        (Call("nobody"), 0),
        (Call("site", ("site.test",)), 1),
        (Call("site", ("site.test", "mobile.test")), 2),
        (Call("site", ("site.test", "other.test")), 0),
        (Call("site", ("nowhere.test",)), 0),
        (Call("site", ("any.site.test",)), 1),
        (Call("site", ("any.site.test",), below=True), 1),
        (Call("site", ("test",)), 0),
        (Call("site", ("test",), below=True), 2),
        (Call("bob", ("shop.example",)), 0),
        (Call("bob", ("shop.example",), below=True), 1),
        (Call("bob", ("site.test",), below=True), 0),
    ],
)
def test_a_call_for_anything_of_somebody_elses_is_not_allowed(call: Call, allowed: int) -> None:
    assert len(call.routes(CONFIG)) == allowed


def test_an_earlier_route_takes_a_domain_away_from_its_owner() -> None:
    taken = config({"domains": ["site.test"], "via": HOP})
    assert site_route(taken.route, "site.test") is None
    assert not Call("site").covers(taken, "site.test")
    assert not Call("site", ("site.test",)).routes(taken)
    assert len(owned_routes(taken, "site")) == 2


def test_an_earlier_route_for_some_mail_takes_that_alone() -> None:
    some = config({"domains": ["site.test"], "senders": ["boss@home.test"], "via": HOP})
    assert site_route(some.route, "site.test", Envelope("boss@home.test")) is None
    assert site_route(some.route, "site.test", Envelope("alice@home.test")) is not None
    assert Call("site", ("site.test",)).covers(some, "site.test")


def test_mail_waits_until_a_call_lets_it_go(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    message = make_message("bob@site.test", "carol@mobile.test", "dave@else.test", "eve@other.test", created=now - 10)
    calls = OpenCalls(CONFIG)

    def held() -> set[int]:
        return set(calls.held(message, message.recipients.items()))

    assert held() == {0, 1, 3}
    calls.open(Call("site"))
    assert held() == {1, 3}, "without a known host nothing but ATRN fetches it"
    # Later: what was there at the call still has its one attempt to come.
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert held() == {1, 3}
    message.recipients[0] = replace(message.recipients[0], last_attempt=now + 5)
    assert held() == {0, 1, 3}
    message.recipients[0] = replace(message.recipients[0], last_attempt=None)
    message.created = now + 1800
    assert held() == {0, 1, 3}


def test_without_such_routes_nothing_is_looked_at() -> None:
    plain = CONFIG.model_copy(update={"route": ()})
    assert OpenCalls(plain).held(make_message("bob@site.test"), [(0, Recipient("bob@site.test"))]) == {}


def test_only_so_many_calls_are_remembered() -> None:
    calls = OpenCalls(CONFIG)
    for number in range(1100):
        calls.open(Call("site", (f"{number}.test",)))
    assert len(calls._calls) == 1000


def test_what_waits_is_marked_and_kept_for_as_long_as_the_route_says() -> None:
    route = site_route(CONFIG.route, "site.test")
    assert route is not None
    message = make_message("bob@site.test", created=1000.0, lifetime=100.0)
    kept = waiting(message.recipients[0], message, route, 2000.0)
    assert kept is not None
    assert waits(kept)
    assert kept.next_attempt == 1000.0 + 30 * 86_400
    assert not waits(not_waiting(kept))
    assert not_waiting(message.recipients[0]) is message.recipients[0]
    assert waiting(kept, message, route, kept.next_attempt) is None
    # Mail that was put off by its sender (FUTURERELEASE) has its time from there on.
    message.expires = 1000.0 + 40 * 86_400
    later = waiting(kept, message, route, 2000.0)
    assert later is not None
    assert later.next_attempt == message.expires
