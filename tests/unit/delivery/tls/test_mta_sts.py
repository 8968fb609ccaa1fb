# SPDX-License-Identifier: GPL-3.0-or-later
"""Announcements and policies of MTA-STS."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.delivery.tls.mta_sts import LONGEST_AGE, Policy, PolicyError, announced_id, names_host, parse_policy
from relay_agent.delivery.tls.policy import Mode

_GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=spf1 -all", "v=STSv1 ; id = 1 ;"], "1"),
        (["v=STSv1; id=1; x=y"], "1"),
        ([], None),
        (["v=STSv1"], None),
        (["v=STSv1; id=1;", "v=STSv1; id=2;"], None),
        (["v=STSv1; id=1; id=2"], None),
        (["v=STSv1; id=a-b"], None),
        (["v=STSv1; id=" + "a" * 33], None),
        (["v=STSv10; id=1"], None),
        ([" v=STSv1; id=1"], None),
    ],
)
def test_announced_id(texts: list[str], expected: str | None) -> None:
    assert announced_id(texts) == expected


def test_a_policy() -> None:
    policy = parse_policy(_GOOD)
    assert policy == Policy(Mode.ENFORCE, 604800, ("mail.example.com", "*.example.net"))
    assert parse_policy("\n".join(policy.lines).encode()) == policy


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"version: STSv1\nmode: none\nmax_age: 1", Policy(Mode.NONE, 1, ())),
        (b"mx: A.Example.\nmax_age:5\nmode:testing\nversion:STSv1", Policy(Mode.TESTING, 5, ("a.example",))),
        (_GOOD + b"mode: none\nother: thing\n\n", Policy(Mode.ENFORCE, 604800, ("mail.example.com", "*.example.net"))),
        (b"version: STSv1\nmode: none\nmax_age: 9999999999", Policy(Mode.NONE, LONGEST_AGE, ())),
    ],
)
def test_policies_in_other_forms(content: bytes, expected: Policy) -> None:
    assert parse_policy(content) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no version"),
        (b"version: STSv2\nmode: none\nmax_age: 1", "no version"),
        (b"version: STSv1\nmax_age: 1", "mode is missing"),
        (b"version: STSv1\nmode: strict\nmax_age: 1", "mode is strict"),
        (b"version: STSv1\nmode: enforce\nmax_age: 1", "names no mx"),
        (b"version: STSv1\nmode: none\nmax_age: -1", "no max_age"),
        (b"version: STSv1\nmode: none\nmax_age: 12345678901", "no max_age"),
        (b"version: STSv1\nmode: none\nmax_age: \xd9\xa1", "no max_age"),
        (b"<html>", "a line without a colon: <html>"),
        (b"\xff\xfe", "UTF-8"),
        (_GOOD + b"mx: *\n", "mx * is not the name"),
        (_GOOD + b"mx: a.*.example\n", "is not the name"),
        (_GOOD + b"mx: a b\n", "is not the name"),
        (_GOOD + b"mx: a.example\n" * 200, "more than 200"),
    ],
)
def test_what_is_no_policy(content: bytes, words: str) -> None:
    with pytest.raises(PolicyError, match=words.replace("*", r"\*")):
        parse_policy(content)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda text: _GOOD + text.encode())))
def test_nothing_else_is_raised(content: bytes) -> None:
    with contextlib.suppress(PolicyError):
        parse_policy(content)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("mail.example.com", True),
        ("MAIL.example.com.", True),
        ("a.example.net", True),
        ("a.b.example.net", False),
        ("example.net", False),
        ("mail.example.com.evil.example", False),
    ],
)
def test_names_host(host: str, expected: bool) -> None:
    assert names_host(parse_policy(_GOOD), host) is expected
