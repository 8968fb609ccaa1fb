# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and answers of block lists."""

from ipaddress import ip_address

import pytest

from relay_agent.reputation.lists import NEVER_LISTED, judge, question, shown_list


def test_an_address_is_asked_for_backwards() -> None:
    assert question(ip_address("192.0.2.99"), "bl.test") == "99.2.0.192.bl.test"
    nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
    assert question(ip_address("2001:db8::1"), "bl.test") == f"{nibbles}.bl.test"
    assert question(NEVER_LISTED[4], "bl.test") == "1.0.0.127.bl.test"
    assert question(NEVER_LISTED[6], "bl.test").startswith("1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.")


@pytest.mark.parametrize(
    ("answers", "listed"), [([], False), (["127.0.0.2"], True), (["127.0.0.10", "127.0.0.4"], True)]
)
def test_a_listing_is_an_answer_in_loopback(answers: list[str], listed: bool) -> None:
    assert judge(answers) == (listed, "")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("127.255.255.252", "misspelt"),
        ("127.255.255.254", "no public resolver"),
        ("127.255.255.255", "asked too much"),
        ("127.255.255.9", "complains of the question"),
        ("203.0.113.7", "no list gives"),
    ],
)
def test_a_complaint_of_the_list_is_no_listing(answer: str, words: str) -> None:
    for answers in ([answer], ["127.0.0.2", answer]):
        listed, problem = judge(answers)
        assert not listed
        assert words in problem


def test_a_key_in_a_lists_name_is_a_secret() -> None:
    assert shown_list("abcdefgh.zen.dq.spamhaus.net") == "zen.dq.spamhaus.net"
    assert shown_list("zen.dq.spamhaus.net") == "zen.dq.spamhaus.net"
    assert shown_list("zen.spamhaus.org") == "zen.spamhaus.org"
