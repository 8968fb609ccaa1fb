# SPDX-License-Identifier: GPL-3.0-or-later
"""Which TLSA records can be used."""

from __future__ import annotations

import pytest

from relay_agent.delivery.tls.tlsa import Tlsa, usable


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (Tlsa(3, 1, 1, bytes(32)), True),
        (Tlsa(2, 0, 2, bytes(64)), True),
        (Tlsa(3, 0, 0, b"x"), True),
        (Tlsa(3, 1, 1, bytes(31)), False),
        (Tlsa(3, 1, 2, bytes(32)), False),
        (Tlsa(3, 0, 0, b""), False),
        (Tlsa(0, 0, 1, bytes(32)), False),
        (Tlsa(1, 1, 1, bytes(32)), False),
        (Tlsa(255, 1, 1, bytes(32)), False),
        (Tlsa(3, 2, 1, bytes(32)), False),
        (Tlsa(3, 1, 3, bytes(32)), False),
    ],
)
def test_usable(record: Tlsa, expected: bool) -> None:
    assert usable(record) is expected


def test_shown_to_people() -> None:
    assert str(Tlsa(3, 1, 1, bytes(32))) == "3 1 1 0000000000000000..."
    assert str(Tlsa(3, 1, 0, b"\xab")) == "3 1 0 ab"
