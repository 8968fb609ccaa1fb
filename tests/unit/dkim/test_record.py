# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest

from relay_agent.dkim.keys import Algorithm
from relay_agent.dkim.record import RecordError, check_record, record_strings, record_text, zone_lines

from .oracle import key


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_record_is_its_key_s(algorithm: Algorithm) -> None:
    one = key(algorithm)
    assert record_text(one) == f"v=DKIM1; k={algorithm.key_type}; p={one.public()}"
    check_record(record_text(one), one)
    strings = record_strings(one)
    assert "".join(strings) == record_text(one)
    assert max(map(len, strings)) <= 255
    assert re.findall(r'"([^"]*)"', zone_lines(one)) == strings
    assert zone_lines(one).startswith(f"{one.selector}._domainkey.alpha.test. IN TXT ")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("v=DKIM1; ", ""),
        lambda text: text.replace("; ", ";"),
        lambda text: text + ";",
        lambda text: text + "; t=s; n=a note",
        lambda text: text.replace("k=rsa; ", "k=rsa; h=sha1:sha256; s=email; "),
        lambda text: text.replace("k=rsa; ", ""),
        lambda text: text[:100] + " " + text[100:],
    ],
)
def test_other_ways_to_write_it(change: object) -> None:
    assert callable(change)
    check_record(change(record_text(key(Algorithm.RSA))), key(Algorithm.RSA))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no p="),
        ("v=spf1 -all", "no tag=value|version"),
        ("v=DKIM1; k=rsa; p=", "revoked"),
        ("k=rsa; v=DKIM1; p=AAAA", "first tag"),
        ("v=DKIM1; k=ed25519; p=AAAA", "kind 'ed25519'"),
        ("v=DKIM1; k=rsa; p=AAAA", "another key"),
        ("v=DKIM1; k=rsa; p=AA\\AA", "not base64"),
        ("v=DKIM1; p=AAAA; p=AAAA", "twice"),
    ],
)
def test_a_record_that_does_not_fit_says_why(text: str, why: str) -> None:
    with pytest.raises(RecordError, match=why):
        check_record(text, key(Algorithm.RSA))


@pytest.mark.parametrize(("tag", "why"), [("h=sha1", "sha256"), ("s=tlsrpt", "email"), ("t=y", "t=y")])
def test_a_record_with_the_right_key_may_still_be_useless(tag: str, why: str) -> None:
    with pytest.raises(RecordError, match=why):
        check_record(f"{record_text(key())}; {tag}", key())
