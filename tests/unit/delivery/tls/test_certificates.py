# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading certificates that somebody else has made."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay_agent.delivery.tls.certificates import (
    Unreadable,
    certificate_names,
    matches_name,
    parse_certificate,
    subject_key,
)

from .chains import issue, key_of

_MADE = issue("mx.example.org", dns=("mx.example.org",))


def test_the_key_is_cut_out_as_it_stands() -> None:
    assert subject_key(_MADE.der) == key_of(_MADE)


@given(st.integers(0, len(_MADE.der) - 1), st.binary(max_size=8))
@example(14, b"\x80")  # a serial number below zero
def test_damage_is_told_not_raised_otherwise(place: int, put: bytes) -> None:
    damaged = _MADE.der[:place] + put + _MADE.der[place + len(put) :]
    for read in (subject_key, parse_certificate):
        try:
            read(damaged)
        except Unreadable:
            continue


@pytest.mark.parametrize("der", [b"", b"0", b"0\x80", b"0\x85\1\1\1\1\1", b"0\x84\xff\xff\xff\xff", b"x" * 100])
def test_no_certificate_at_all(der: bytes) -> None:
    with pytest.raises(Unreadable):
        subject_key(der)
    with pytest.raises(Unreadable):
        parse_certificate(der)


def test_names() -> None:
    several = issue("ignored.example", dns=("MX.Example.org", "*.example.net"))
    assert certificate_names(parse_certificate(several.der)) == ["mx.example.org", "*.example.net"]
    without = issue("Common.example")
    assert certificate_names(parse_certificate(without.der)) == ["common.example"]


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("mx.example.org", "MX.example.org.", True),
        ("mx.example.org", "mx2.example.org", False),
        ("*.example.org", "mx.example.org", True),
        ("*.example.org", "a.mx.example.org", False),
        ("*.example.org", "example.org", False),
        ("*.org", "example.org", False),
        ("m*.example.org", "mx.example.org", False),
        ("*", "org", False),
    ],
)
def test_matches_name(pattern: str, name: str, expected: bool) -> None:
    assert matches_name(pattern, name) is expected
