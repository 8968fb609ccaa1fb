# SPDX-License-Identifier: GPL-3.0-or-later
"""Which resolvers can be believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_agent.delivery.tls.resolvers import NotSecureError, on_this_host, system_resolvers


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        ([("127.0.0.1", 53)], True),
        ([("::1", 53), ("127.0.0.2", 5353)], True),
        ([("127.0.0.1", 53), ("192.0.2.1", 53)], False),
        ([("127.0.0.53", 53)], False),
        ([("127.0.0.11", 53)], False),
        ([], False),
    ],
)
def test_on_this_host(servers: list[tuple[str, int]], expected: bool) -> None:
    assert on_this_host(servers) is expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("# x\nsearch example.org\nnameserver 127.0.0.1\nnameserver ::1 # two\n", [("127.0.0.1", 53), ("::1", 53)]),
        ("nameserver\nnameserver  192.0.2.1\n", [("192.0.2.1", 53)]),
        ("nameserver 127.0.0.1\nnameserver nonsense\n", []),
        ("", []),
    ],
)
def test_system_resolvers(tmp_path: Path, content: str, expected: list[tuple[str, int]]) -> None:
    (tmp_path / "resolv.conf").write_text(content)
    assert system_resolvers(tmp_path / "resolv.conf") == expected
    assert system_resolvers(tmp_path / "missing") == []


def test_bad_signatures_have_a_status_of_their_own() -> None:
    assert NotSecureError("x", bogus=True).outcome.status == "4.7.5"
    assert NotSecureError("x").outcome.status == "4.4.3"
