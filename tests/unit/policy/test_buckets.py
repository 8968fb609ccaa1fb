# SPDX-License-Identifier: GPL-3.0-or-later
import math

import pytest

from relay_agent.policy import buckets
from relay_agent.policy.buckets import Buckets, Rate

HUNDRED = Rate(per_hour=100, burst=10)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    left = Buckets(clock)
    for _ in range(10):
        assert left.wait("a", HUNDRED, 1) == 0
        left.spend("a", HUNDRED, 1)
    assert left.wait("a", HUNDRED, 1) == pytest.approx(36)
    assert left.wait("b", HUNDRED, 10) == 0
    clock.now += 36
    assert left.wait("a", HUNDRED, 1) == pytest.approx(0, abs=1e-6)
    clock.now += 36_000
    assert left.wait("a", HUNDRED, 10) == 0
    assert left.wait("a", HUNDRED, 11) == math.inf


def test_a_debt_is_worked_off() -> None:
    clock = Clock()
    left = Buckets(clock)
    left.spend("a", HUNDRED, 25)
    assert left.wait("a", HUNDRED, 1) == pytest.approx(16 * 36)


def test_no_limit() -> None:
    left = Buckets(Clock())
    left.spend("a", Rate(0, 1), 10**9)
    assert left.wait("a", Rate(0, 1), 10**9) == 0
    assert len(left) == 0


def test_full_buckets_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "_SWEEP", 100)
    clock = Clock()
    left = Buckets(clock)
    for number in range(1000):
        left.spend(str(number), HUNDRED, 1)
        clock.now += 1
    assert len(left) <= 100
