# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a probe: in a pipe, on a narrow terminal."""

from __future__ import annotations

import os
import sys
from typing import Literal

import pytest

from relay_agent.cli.probe_words import words_of
from relay_agent.probe.survey import Survey
from relay_agent.probe.verdict import Setting, Verdict, What

LONG = "the relay answers, but STARTTLS has been taken out on the way: the network wants to read along; do not sign in"


def seen(
    port: int, what: What = What.OPEN, words: str = "open, TLS", family: Literal["ipv4", "ipv6"] = "ipv4"
) -> Verdict:
    works: tuple[Literal["TLS", "STARTTLS"], ...] = ("TLS",) if what is What.OPEN else ()
    return Verdict(port, family, "192.0.2.1", what, words, works, 0.1)


def found(*verdicts: Verdict, usable: bool = True, ports: tuple[tuple[int, str], ...] = ()) -> Survey:
    setting = Setting("relay.test", 443, "TLS", "nearly every network lets this port through") if usable else None
    return Survey("relay.test", (("ipv4", "192.0.2.1"),), verdicts, setting, bool(ports), "key", ports, 1.0)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 60 columns, without colour."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((60, 24)))


def test_in_a_pipe_nothing_is_folded() -> None:
    text = words_of(found(seen(587, What.STRIPPED, LONG), seen(443)), everything=False)
    assert f" 587  IPv4  {LONG}" in text.splitlines()
    assert "\x1b" not in text


@pytest.mark.usefixtures("terminal")
def test_a_narrow_terminal() -> None:
    text = words_of(found(seen(587, What.STRIPPED, LONG), seen(443)), everything=False)
    assert max(map(len, text.splitlines())) <= 60
    folded = " ".join(text.split())
    assert LONG in folded
    assert "Mail can be sent from here. Set your mail program to:" in folded


def test_both_families_share_a_line_where_they_are_alike() -> None:
    lines = words_of(
        found(seen(443), seen(443, family="ipv6"), seen(465), seen(465, What.REFUSED, "refused", "ipv6")),
        everything=False,
    ).splitlines()
    assert lines[2:5] == [
        " 443  IPv4, IPv6  open, TLS",
        " 465  IPv4        open, TLS",
        " 465  IPv6        refused",
    ]


def test_a_family_that_is_not_there_is_said_once() -> None:
    survey = found(*(seen(port, family="ipv4") for port in (443, 465)), seen(443, What.UNREACHABLE, "nowhere", "ipv6"))
    text = words_of(survey, everything=False)
    assert "There is no way to it over IPv6 from here." in text
    assert "nowhere" not in text
    assert "nowhere" in words_of(survey, everything=True)


def test_ports_that_the_relay_does_not_have_are_left_out() -> None:
    survey = found(
        seen(443), seen(24, What.REFUSED, "refused"), seen(25, What.OTHER, "else"), ports=((443, "implicit"),)
    )
    text = words_of(survey, everything=False)
    assert "  24" not in text
    assert "  25  IPv4  else" in text
    assert "  24  IPv4  refused" in words_of(survey, everything=True)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (What.PORTAL, "log in first"),
        (What.ADDRESS, "give the relay's name"),
        (What.UNKNOWN_AUTHORITY, "give it: --ca ca.pem"),
        (What.CERTIFICATE, "Somebody stands between you"),
        (What.STRIPPED, "takes the encryption out"),
        (What.NO_SIGN_IN, "does not take mail from you"),
        (What.OTHER, "Somebody else answers"),
        (What.REFUSED, "no relay on it"),
        (What.UNREACHABLE, "is this machine online?"),
        (What.SILENT, "Nothing gets through"),
    ],
)
def test_what_to_do_when_nothing_works(what: What, words: str) -> None:
    text = words_of(found(seen(443, what, "words"), usable=False), everything=False)
    assert "Mail cannot be sent from here. " in text
    assert words in text
