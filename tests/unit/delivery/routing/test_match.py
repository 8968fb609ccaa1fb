# SPDX-License-Identifier: GPL-3.0-or-later
"""Which route some mail takes."""

from __future__ import annotations

import pytest

from relay_agent.config.schema import Hop, Route
from relay_agent.delivery.routing.match import is_account, is_sender, matching_route, uses_mx
from relay_agent.queue.model import Envelope

ENVELOPE = Envelope("alice@home.test", "alice")
ROUTES = (
    Route(domains=("example.org", "b\u00fccher.example"), via=(Hop(host="one.test"),)),
    Route(domains=("*.example.org",), via=(Hop(host="two.test"),)),
    Route(domains=("*",), via=(Hop(host="three.test"),)),
)


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        ("example.org", "one.test"),
        ("EXAMPLE.org", "one.test"),
        ("xn--bcher-kva.example", "one.test"),
        ("B\u00fccher.example", "one.test"),
        ("a.example.org", "two.test"),
        ("a.b.example.org", "two.test"),
        ("notexample.org", "three.test"),
        ("[192.0.2.1]", "three.test"),
        ("no domain", "three.test"),
    ],
)
def test_first_match_wins(domain: str, host: str) -> None:
    route = matching_route(ROUTES, domain, ENVELOPE)
    assert route is not None
    assert route.via[0].host == host


def test_no_match_is_mx() -> None:
    assert matching_route(ROUTES[:2], "elsewhere.example", ENVELOPE) is None


@pytest.mark.parametrize(
    ("patterns", "sender", "expected"),
    [
        (("home.test",), "alice@home.test", True),
        (("HOME.test",), "alice@home.TEST", True),
        (("*.home.test",), "alice@home.test", False),
        (("*.home.test",), "alice@a.home.test", True),
        (("alice@home.test",), "alice@home.test", True),
        (("alice@home.test",), "Alice@home.test", False),
        (("alice@home.test",), "alice@away.test", False),
        (("*",), "alice@home.test", True),
        (("*",), "", False),
        (("<>",), "", True),
        (("<>",), "alice@home.test", False),
        (("<>", "home.test"), "alice@home.test", True),
        (("xn--bcher-kva.example",), "x@B\u00fccher.example", True),
    ],
)
def test_senders(patterns: tuple[str, ...], sender: str, expected: bool) -> None:
    assert is_sender(patterns, sender) is expected


@pytest.mark.parametrize(
    ("patterns", "account", "expected"),
    [
        (("alice",), "alice", True),
        (("alice",), "alice2", False),
        (("*@shop.test",), "news@shop.test", True),
        (("*@shop.test",), "news@shop.test.evil", False),
        (("a.b",), "axb", False),
        (("*",), "anyone", True),
        (("*",), "", False),
        (("*",), None, False),
    ],
)
def test_accounts(patterns: tuple[str, ...], account: str | None, expected: bool) -> None:
    assert is_account(patterns, account) is expected


def test_all_conditions_have_to_hold() -> None:
    routes = (Route(domains=("a.test",), senders=("home.test",), accounts=("alice",), mx=True),)
    assert matching_route(routes, "a.test", ENVELOPE) is routes[0]
    assert matching_route(routes, "b.test", ENVELOPE) is None
    assert matching_route(routes, "a.test", Envelope("alice@home.test", "bob")) is None
    assert matching_route(routes, "a.test", Envelope("", "alice")) is None


def test_whether_mail_can_go_to_mx_hosts() -> None:
    everything = Route(via=(Hop(host="a.test"),))
    some = Route(senders=("a.test",), via=(Hop(host="a.test"),))
    assert uses_mx(())
    assert uses_mx((some,))
    assert uses_mx((Route(domains=("x.test",), mx=True), everything))
    assert not uses_mx((some, everything, Route(domains=("x.test",), mx=True)))
