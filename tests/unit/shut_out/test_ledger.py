# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is shut out, after what, for how long; and what strangers cannot do to it."""

import json
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.shut_out.ledger import Ledger, Notice, NoticeError, Release, address_of, parse_notice
from relay_agent.shut_out.settings import Settings

ONE = ip_address("198.51.100.7")
NOW = 1_000_000.0


def told(ledger: Ledger, *, peer: str = str(ONE), account: int = 1, shut_out: int = 0, now: float = NOW) -> int:
    return ledger.notice(Notice(address_of(peer), f"{account:016x}", shut_out), now)


def test_an_account_that_was_shut_out_again_and_again() -> None:
    ledger = Ledger(Settings(after_shut_outs=3))
    assert [told(ledger, shut_out=900 * number) for number in (1, 0, 2, 0)] == [0, 0, 0, 0]
    assert told(ledger, shut_out=3600) == 3600
    assert ledger.active(NOW) == {ONE: 3600.0}


def test_wrong_passwords_alone_shut_nobody_out() -> None:
    ledger = Ledger(Settings(after_accounts=3))
    assert {told(ledger, account=number % 2) for number in range(1000)} == {0}


def test_one_password_tried_on_many_accounts() -> None:
    ledger = Ledger(Settings(after_accounts=20))
    assert [told(ledger, account=number) for number in range(20)] == [0] * 19 + [900]


def test_what_is_long_ago_does_not_count() -> None:
    ledger = Ledger(Settings(after_shut_outs=2, after_accounts=2, within=60))
    assert told(ledger, account=1, shut_out=900) == 0
    assert told(ledger, account=2, shut_out=900, now=NOW + 61) == 0
    assert told(ledger, account=2, shut_out=900, now=NOW + 62) == 900


def test_each_time_takes_twice_as_long_up_to_the_limit() -> None:
    ledger = Ledger(Settings(after_shut_outs=1, at_most=5000))
    assert [told(ledger, shut_out=900) for _ in range(4)] == [900, 1800, 3600, 5000]


def test_time_goes_by() -> None:
    ledger = Ledger(Settings(after_shut_outs=1))
    told(ledger, shut_out=900)
    assert ledger.active(NOW + 600) == {ONE: 300.0}
    assert ledger.active(NOW + 900) == {}


def test_those_spared_are_never_shut_out() -> None:
    never = (ip_network("198.51.100.0/24"), ip_network("2001:db8:1:2:3::/80"), ip_network("2001:db8:8::/48"))
    ledger = Ledger(Settings(after_shut_outs=1, never=never))
    for peer in (str(ONE), "2001:db8:1:2::9", "2001:db8:8:1::9"):
        assert told(ledger, peer=peer, shut_out=900) == 0
    assert told(ledger, peer="2001:db8:1:3::9", shut_out=900) == 900
    ledger.restore({ONE: NOW + 500}, NOW)
    assert ONE not in ledger.active(NOW)


def test_a_home_with_ipv6_is_one() -> None:
    ledger = Ledger(Settings(after_shut_outs=2))
    assert told(ledger, peer="2001:db8:1:2::9", shut_out=900) == 0
    assert told(ledger, peer="2001:db8:1:2:ffff::1", shut_out=900) == 900
    assert ledger.active(NOW) == {ip_address("2001:db8:1:2::"): 900.0}


def test_ipv4_in_the_form_of_ipv6_is_ipv4() -> None:
    assert address_of("::ffff:198.51.100.7") == ONE


def test_let_in_again_is_forgotten() -> None:
    ledger = Ledger(Settings(after_shut_outs=1))
    told(ledger, shut_out=900)
    assert ledger.release(ONE)
    assert not ledger.release(ONE)
    assert (ledger.active(NOW), len(ledger)) == ({}, 0)
    assert told(ledger, shut_out=900) == 900


def test_another_process_goes_on() -> None:
    ledger, later = Ledger(Settings(after_shut_outs=1)), Ledger(Settings(at_most=100))
    told(ledger, shut_out=900)
    later.restore({address_of(text): until for text, until in ledger.export().items()}, NOW)
    assert later.active(NOW) == {ONE: 100.0}


def test_memory_has_a_bound() -> None:
    ledger = Ledger(Settings(after_shut_outs=1), most=50)
    outcomes = [told(ledger, peer=str(ONE + number), shut_out=900) for number in range(200)]
    assert len(ledger) == len(ledger.active(NOW)) == 50
    assert sum(map(bool, outcomes)) == 50


def test_a_notice_is_read() -> None:
    notice = {"peer": str(ONE), "account": "00ff" * 4, "shut_out": 5}
    assert parse_notice(json.dumps(notice).encode()) == Notice(ONE, "00ff" * 4, 5)
    assert parse_notice(b'{"release": "2001:db8::5"}') == Release(ip_address("2001:db8::"))


GOOD = {"peer": "198.51.100.7", "account": "0" * 16, "shut_out": 0}


@pytest.mark.parametrize(
    "change",
    [
        {"peer": "198.51.100.7 }; flush ruleset; {"}, {"peer": "198.51.100.0/24"}, {"peer": "0xC6336407"},
        {"peer": 3325256711}, {"peer": None}, {"peer": ""}, {"peer": "1" * 900}, {"peer": "fe80::1%eth0"},
        {"peer": "127.0.0.1"}, {"peer": "::1"}, {"peer": "::"}, {"peer": "224.0.0.1"}, {"peer": "fe80::1"},
        {"peer": "2001:db8::1%x"}, {"peer": "198.51.100.7\n"},
        {"account": "alice"}, {"account": "0" * 17}, {"account": "0" * 15 + "\n"}, {"account": 7},
        {"shut_out": -1}, {"shut_out": 1 << 32}, {"shut_out": 1.5}, {"shut_out": "9"}, {"shut_out": True},
        {"more": 1},
    ],
)  # fmt: skip
def test_what_is_no_notice_is_refused(change: dict[str, object]) -> None:
    parse_notice(json.dumps(GOOD).encode())
    with pytest.raises(NoticeError):
        parse_notice(json.dumps(GOOD | change).encode())


@given(st.binary(max_size=1500))
def test_no_datagram_is_more_than_refused(datagram: bytes) -> None:
    with pytest.raises(NoticeError):
        parse_notice(datagram)


@pytest.mark.parametrize("datagram", [b"[" * 1000, b'{"release":' + b"[" * 900, b"1e999", b" " * 1025, b"\xff" * 9])
def test_json_that_is_made_to_hurt(datagram: bytes) -> None:
    with pytest.raises(NoticeError):
        parse_notice(datagram)
