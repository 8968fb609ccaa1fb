# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters of MAIL and RCPT: what is taken, what is refused, and that nothing kept can harm a command."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.submission.address import PathError
from relay_agent.submission.parameters import Offer, read_mail_parameters, read_rcpt_parameters

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
OFFER = Offer(size=1000, tls=True, signed_in=True, longest_hold=86_400.0, now=NOW)


def refused(given: dict[str, str], offer: Offer = OFFER) -> str:
    with pytest.raises(PathError) as caught:
        read_mail_parameters(given, offer)
    return str(caught.value)[:9]


def test_what_is_kept() -> None:
    given = {
        "SIZE": "1000",
        "BODY": "binaryMIME",
        "AUTH": "a+40b.test",
        "RET": "full",
        "ENVID": "x+2B",
        "REQUIRETLS": "",
    }
    found = read_mail_parameters(given, OFFER)
    assert found.options == {"BODY": "BINARYMIME", "RET": "FULL", "ENVID": "x+2B", "REQUIRETLS": ""}
    assert (found.utf8, found.hold_until) == (False, 0.0)
    assert read_mail_parameters({"SMTPUTF8": ""}, OFFER).utf8


@pytest.mark.parametrize(
    ("key", "value", "reply"),
    [
        ("SIZE", "1001", "552 5.3.4"),
        ("SIZE", "-1", "501 5.5.4"),
        ("SIZE", "\u0661", "501 5.5.4"),
        ("SMTPUTF8", "yes", "501 5.5.4"),
        ("AUTH", "", "501 5.5.4"),
        ("AUTH", "a+4", "501 5.5.4"),
        ("ENVID", "x" * 101, "501 5.5.4"),
        ("ENVID", "+0A", "501 5.5.4"),
        ("ENVID", "a+e4", "501 5.5.4"),
        ("ENVID", "\u00e4", "501 5.5.4"),
        ("RET", "", "501 5.5.4"),
        ("NOTIFY", "NEVER", "555 5.5.4"),
        ("BY", "120;R", "555 5.5.4"),
    ],
)
def test_what_is_refused(key: str, value: str, reply: str) -> None:
    assert refused({key: value}) == reply


@pytest.mark.parametrize(
    ("key", "value", "until"),
    [
        ("HOLDFOR", "0", NOW),
        ("HOLDFOR", "60", NOW + 60),
        ("HOLDFOR", "86400", NOW + 86400),
        ("HOLDUNTIL", "2027-01-15T08:01:00Z", NOW + 60),
        ("HOLDUNTIL", "2027-01-15T09:01:00.0+01:00", NOW + 60),
        ("HOLDUNTIL", "2027-01-15t08:01:00z", NOW + 60),
        ("HOLDUNTIL", "1999-01-15T08:01:00Z", NOW),
        ("HOLDUNTIL", "0001-01-01T00:00:00+23:59", NOW),
    ],
)
def test_held_until(key: str, value: str, until: float) -> None:
    assert read_mail_parameters({key: value}, OFFER).hold_until == until


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("HOLDFOR", "86401"),
        ("HOLDFOR", "9999999999"),
        ("HOLDFOR", ""),
        ("HOLDUNTIL", "2027-01-16T08:00:01Z"),
        ("HOLDUNTIL", "2027-01-15"),
        ("HOLDUNTIL", "2027-01-15T08:01:00"),
        ("HOLDUNTIL", "2027-02-30T08:01:00Z"),
    ],
)
def test_not_held(key: str, value: str) -> None:
    assert refused({key: value}) == "501 5.5.4"


def test_holding_is_for_accounts_and_may_be_off() -> None:
    assert refused({"HOLDFOR": "5"}, Offer(1000, True, False, 60.0, NOW)) == "530 5.7.0"
    assert refused({"HOLDFOR": "5"}, Offer(1000, True, True, 0.0, NOW)) == "555 5.5.4"
    assert refused({"REQUIRETLS": ""}, Offer(1000, False, True, 0.0, NOW)) == "530 5.7.0"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"NOTIFY": "never"}, {"NOTIFY": "NEVER"}),
        ({"NOTIFY": "success,DELAY"}, {"NOTIFY": "SUCCESS,DELAY"}),
        ({"ORCPT": "rfc822;a+2Bb@c.test"}, {"ORCPT": "rfc822;a+2Bb@c.test"}),
        ({"ORCPT": "x400;/C=de/"}, None),
        ({"ORCPT": "utf-8;b\\x{F6}@c.test"}, {"ORCPT": "utf-8;b\\x{F6}@c.test"}),
        ({"ORCPT": "rfc822;" + "a" * 500}, None),
        ({"ORCPT": ";a@b.test"}, None),
        ({"ORCPT": "rfc822;"}, None),
        ({"ORCPT": "rfc822;a+0Db"}, None),
        ({"NOTIFY": "SUCCESS,"}, None),
        ({"NOTIFY": "NEVER,NEVER"}, None),
    ],
)
def test_of_recipients(given: dict[str, str], kept: dict[str, str] | None) -> None:
    if kept is None:
        with pytest.raises(PathError, match=r"^501 5\.5\.4 "):
            read_rcpt_parameters(given, utf8=True)
    else:
        assert read_rcpt_parameters(given, utf8=False) == kept


@given(st.sampled_from(["NOTIFY", "ORCPT"]), st.text(), st.booleans())
def test_what_is_kept_of_recipients_fits_a_command(key: str, value: str, utf8: bool) -> None:
    for text in (value, f"utf-8;{value}", f"rfc822;{value}"):
        try:
            kept = read_rcpt_parameters({key: text}, utf8=utf8)
        except PathError:
            continue
        assert re.fullmatch(r"[!-<>-~]{1,500}", kept[key])


def test_an_unknown_parameter_is_named_as_far_as_a_reply_has_room() -> None:
    offer = Offer(1000, tls=True, signed_in=True, longest_hold=0.0, now=1e9)
    for read in (
        lambda given: read_mail_parameters(given, offer),
        lambda given: read_rcpt_parameters(given, utf8=False),
    ):
        with pytest.raises(PathError, match=r"^555 5\.5\.4 .* parameter X+\.\.\. is not known here$") as caught:
            read({"X" * 900: ""})
        assert len(str(caught.value)) <= 510
