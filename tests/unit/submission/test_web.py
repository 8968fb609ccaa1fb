# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from relay_agent.submission.web import proxy_header


@pytest.mark.parametrize(
    ("peer", "own", "header"),
    [
        ("192.0.2.9", "198.51.100.1", b"PROXY TCP4 192.0.2.9 198.51.100.1 4000 443\r\n"),
        ("2001:db8::9", "2001:db8::1", b"PROXY TCP6 2001:db8::9 2001:db8::1 4000 443\r\n"),
        ("192.0.2.9", "::ffff:10.0.0.1", b"PROXY TCP6 ::ffff:192.0.2.9 ::ffff:10.0.0.1 4000 443\r\n"),
        ("2001:db8::9", "10.0.0.1", b"PROXY TCP6 2001:db8::9 ::ffff:10.0.0.1 4000 443\r\n"),
        ("", "198.51.100.1", b"PROXY UNKNOWN\r\n"),
    ],
)
def test_the_web_server_learns_who_the_browser_is(peer: str, own: str, header: bytes) -> None:
    assert proxy_header(peer, 4000, own, 443) == header
