# SPDX-License-Identifier: GPL-3.0-or-later
"""Percentiles are those of all values, however they were collected."""

from __future__ import annotations

import pytest

from benchmarks.load.latency import Latencies


def test_none() -> None:
    assert Latencies().percentile(99) == 0.0
    assert Latencies().summary()["count"] == 0


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)])
def test_nearest_rank(percent: float, expected: float) -> None:
    assert Latencies(range(100, 0, -1)).percentile(percent) == expected


def test_merged_as_if_collected_by_one() -> None:
    first, second = Latencies([0.003, 0.001]), Latencies([0.002])
    assert first.percentile(50) == 0.001
    first.merge(second)
    first.add(0.004)
    assert first.percentile(50) == 0.002
    assert first.summary() == {"count": 4, "p50": 2.0, "p90": 4.0, "p99": 4.0, "p99.9": 4.0, "max": 4.0, "mean": 2.5}
