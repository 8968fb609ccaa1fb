# SPDX-License-Identifier: GPL-3.0-or-later
"""Which relays differ from their siblings, in words."""

from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.status.difference import differences
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import RelayState, read_state
from status_example import knocked, reading


def relay(host: str, *, seen: dict[str, Any] | None = None, siblings: str = "relays", **changes: Any) -> RelayState:
    return read_state(host, siblings, {"reading": reading(**changes)}, seen or knocked())


def told(*relays: RelayState) -> list[tuple[str, str]]:
    return [(finding.host, finding.text) for finding in differences(relays)]


def test_equal_relays_differ_in_nothing() -> None:
    # The id differs between Debian 12 and 13, though the release was made from the same.
    other = {"id": "00979a2a32d71cef", "version": "0.1.0", "made_from": "f42359b1fabf", "platform": "Python 3.13"}
    assert told(relay("a"), relay("b", release=other)) == []


def test_the_one_that_differs_is_named_and_not_the_majority() -> None:
    unlike = {"delivery.retry_for": '"2d"', "submission.max_message_size": "52428800"}
    assert told(relay("a"), relay("b", settings=unlike), relay("c")) == [
        ("b", 'delivery.retry_for: "2d" here, "5d" at a and c')
    ]


def test_without_a_majority_each_is_named() -> None:
    assert told(relay("a"), relay("b", settings={"delivery.retry_for": '"5d"'})) == [
        ("a", "submission.max_message_size: 52428800 here, not set at b"),
        ("b", "submission.max_message_size: not set here, 52428800 at a"),
    ]


def test_release() -> None:
    old = {"id": "1", "version": "0.0.9", "made_from": "aaaaaaaabbbb", "platform": ""}
    assert told(relay("a"), relay("b"), relay("c", release=old)) == [
        ("c", "the release: 0.0.9 (aaaaaaaa) here, 0.1.0 (f42359b1) at a and b")
    ]


def test_accounts_and_secrets_are_compared_and_not_shown() -> None:
    found = told(
        relay("a", secrets={"me.password": "11aa"}),
        relay("b", secrets={"me.password": "11aa"}, accounts={"anna": "1"}),
        relay("c", secrets={"me.password": "22bb"}, accounts={"anna": "9", "printer": "2"}),
        relay("d", secrets={"me.password": "11aa"}, accounts={"anna": "1", "printer": "2", "guest": "3"}),
    )
    assert found == [
        ("b", "account printer is missing here, and is at a, c and d"),
        ("c", "account anna is not as at a, b and d"),
        ("c", "me.password is not as at a, b and d"),
        ("d", "account guest is not at a, b and c"),
    ]


def test_ports_that_are_open_elsewhere_are_told_together() -> None:
    shut = knocked(closed=[443, 465])
    assert told(relay("a"), relay("b", seen=shut), relay("c")) == [
        ("b", "seen from laptop, ports 465, 443: closed here, open at a and c")
    ]


def test_only_what_differs_of_the_answer_to_ehlo() -> None:
    plain = knocked(offers=["8BITMIME", "AUTH LOGIN PLAIN", "PIPELINING", "SIZE 52428800"])
    found = told(relay("a"), relay("b", seen=plain), relay("c"))
    assert found == [
        (
            "b",
            "seen from laptop, ports 587, 2525, 8025, 465, 2465, 443 offers: AUTH LOGIN PLAIN here, "
            "AUTH LOGIN PLAIN SCRAM-SHA-256 at a and c",
        )
    ]


def test_other_siblings_may_be_other() -> None:
    unlike = {"delivery.retry_for": '"2d"'}
    assert told(relay("a"), relay("b"), relay("test", siblings="tests", settings=unlike)) == []


def test_of_a_host_that_is_away_nothing_is_known() -> None:
    away = read_state("b", "relays", {"unreachable": True, "msg": "x"}, knocked(closed=[443]))
    assert told(relay("a"), away) == []


def test_long_lists_of_hosts_are_cut_short() -> None:
    unlike = {"delivery.retry_for": '"2d"', "submission.max_message_size": "52428800"}
    (finding,) = told(*(relay(name) for name in "abcdef"), relay("z", settings=unlike))
    assert finding[1].endswith("at a, b, c, d and 2 more")


def test_ports_that_are_closed_on_purpose_are_no_difference() -> None:
    drained = reading()["agent"] | {"drained": {"since": 0.0, "because": ""}}
    away = relay("b", seen=knocked(closed=[443, 465, 587]), agent=drained)
    assert told(relay("a"), away, relay("c")) == []
