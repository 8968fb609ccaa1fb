# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts that go from one host to another."""

from __future__ import annotations

import json

import pytest

from relay_agent.probe.attempt import Attempt, End, Shown, Target
from relay_agent.probe.wire import as_json, read_attempt

TARGET = Target("relay.test", "ipv6", "2001:db8::1", 465, "tls")
WHOLE = Attempt(
    TARGET,
    End.SPOKE,
    1.25,
    banner="relay.test ESMTP",
    starttls=True,
    starttls_failed="bad",
    auth=("PLAIN", "LOGIN"),
    shown=Shown("expired", b"\x30\x00\xff", "TLSv1.3"),
    statements=["a.b.c"],
    said="HTTP/1.0 302",
    location="http://login.test/",
)


@pytest.mark.parametrize("found", [WHOLE, Attempt(TARGET), Attempt(TARGET, End.REFUSED, 0.5)])
def test_what_arrives_is_what_was_sent(found: Attempt) -> None:
    assert read_attempt("relay.test", json.loads(json.dumps(as_json(found)))) == found


@pytest.mark.parametrize(
    "change",
    [
        {"family": "ipx"},
        {"mode": "none"},
        {"end": "well"},
        {"port": "x"},
        {"seconds": "nan"},
        {"shown": {"problem": ""}},
    ],
)
def test_what_is_no_attempt_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError)):
        read_attempt("relay.test", as_json(WHOLE) | change)


@pytest.mark.parametrize("name", ["banner", "starttls_failed", "said", "location", "address"])
def test_a_text_without_end_is_cut(name: str) -> None:
    read = read_attempt("relay.test", as_json(WHOLE) | {name: "x" * 9999})
    assert len(read.target.address if name == "address" else getattr(read, name)) == 500
