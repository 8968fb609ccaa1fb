# SPDX-License-Identifier: GPL-3.0-or-later
"""When the next attempt is."""

from __future__ import annotations

import pytest

from relay_agent.delivery.schedule import JITTER, in_words, next_attempt


@pytest.mark.parametrize(("attempts", "wait"), [(1, 60), (2, 120), (3, 240), (7, 3600), (5000, 3600)])
def test_doubles_up_to_the_longest(attempts: int, wait: float) -> None:
    for _ in range(50):
        due = next_attempt(1000.0, attempts, 1e9, first=60, longest=3600)
        assert due is not None
        assert wait * (1 - JITTER) <= due - 1000 <= wait * (1 + JITTER)


def test_is_varied() -> None:
    assert len({next_attempt(0.0, 1, 1e9, first=60, longest=3600) for _ in range(20)}) > 1


def test_the_last_attempt_is_at_expiry() -> None:
    assert next_attempt(1000.0, 5, 1010.0, first=60, longest=3600) == 1010.0
    assert next_attempt(1010.0, 6, 1010.0, first=60, longest=3600) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (432_000, "5 days"),
        (86_400, "1 day"),
        (5400, "90 minutes"),
        (7200, "2 hours"),
        (1.4, "1 second"),
        (0, "0 seconds"),
    ],
)
def test_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_greylisting_has_waits_of_its_own_and_they_are_never_cut_short() -> None:
    for attempts, wait in ((1, 300), (2, 600)):
        due = next_attempt(0.0, attempts, 1e6, first=60, longest=3600, waits=(300, 600))
        assert due is not None
        assert wait <= due <= wait * (1 + JITTER)
    after = next_attempt(0.0, 3, 1e6, first=60, longest=3600, waits=(300, 600))
    assert after is not None
    assert 240 * (1 - JITTER) <= after <= 240 * (1 + JITTER)
    assert next_attempt(0.0, 1, 100.0, first=60, longest=3600, waits=(300,)) == 100.0
