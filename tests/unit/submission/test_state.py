# SPDX-License-Identifier: GPL-3.0-or-later
"""When a message that its sender has held is released, by the clock at its acceptance."""

from __future__ import annotations

import pytest

from relay_agent.submission.state import MailEnvelope

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("until", "seconds", "released"),
    [
        (0.0, None, 0.0),
        (NOW - 1, None, 0.0),
        (NOW + 60, None, NOW + 60),  # HOLDUNTIL
        (NOW + 55, 60.0, NOW + 55),  # HOLDFOR, MAIL was five seconds ago
        (NOW + 3660, 60.0, NOW + 60),  # the clock was put back an hour since
        (NOW + 3600, 0.0, 0.0),
        (NOW - 3540, 60.0, 0.0),  # it was put forward
    ],
)
def test_held_until(until: float, seconds: float | None, released: float) -> None:
    envelope = MailEnvelope()
    envelope.hold_until, envelope.hold_for = until, seconds
    assert envelope.held_until(NOW) == released
