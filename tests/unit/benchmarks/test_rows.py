# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as reached, and how it is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.rows import ROWS, Load, Row, Sample, combine, judge
from benchmarks.table import markdown, number, text

RATE = Row("rate", "a rate", Load(), target=4)
LATENCY = Row("p99", "a latency", Load(), figure="p99", target=0.5)
LARGE = Row("large", "memory", Load(), figure="megabytes", target=1, memory_limit=120_000_000)


@pytest.mark.parametrize(("ours", "met"), [(3999, False), (4000, True), (9000, True)])
def test_a_rate_must_reach_its_ratio(ours: float, met: bool) -> None:
    assert judge(RATE, [Sample(accepted=ours)], [Sample(accepted=1000)]).met is met


@pytest.mark.parametrize(("ours", "met"), [(51, False), (50, True), (5, True)])
def test_a_latency_must_stay_below(ours: float, met: bool) -> None:
    assert judge(LATENCY, [Sample(whole_p99=ours)], [Sample(whole_p99=100)]).met is met


def test_failures_and_loss_miss_every_target() -> None:
    good, postfix = Sample(accepted=9000), [Sample(accepted=1000)]
    assert judge(RATE, [replace(good, failed=1)], postfix).met is False
    lost = judge(RATE, [good, replace(good, drained=False)], postfix)
    assert lost.met is False
    assert "not all arrived" in lost.why


def test_memory_is_part_of_the_target() -> None:
    small, big = Sample(megabytes=90, memory=50_000_000), Sample(megabytes=90, memory=130_000_000)
    assert judge(LARGE, [small], [Sample(megabytes=80)]).met is True
    result = judge(LARGE, [small, big], [Sample(megabytes=80)])
    assert result.met is False
    assert result.why == "memory 130 MB"


def test_nothing_to_compare_with_is_not_met() -> None:
    assert judge(RATE, [Sample(accepted=9000)], []).met is False
    assert judge(RATE, [Sample(accepted=9000)], [Sample()]).met is False


def test_no_target_no_judgement() -> None:
    assert judge(replace(RATE, target=None), [Sample(accepted=1)], [Sample(accepted=1)]).met is None


def test_end_to_end_counts_only_when_all_arrived() -> None:
    assert Sample(end_to_end=100, drained=False).figure("end_to_end") == 0


def test_combined_by_the_median() -> None:
    combined = combine([Sample(accepted=rate, memory=rate, failed=1, messages=2) for rate in (30, 10, 20)])
    assert (combined.accepted, combined.memory, combined.failed, combined.messages) == (20, 30, 3, 6)


def test_every_row_of_the_comparison_is_named_once() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "-"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")]
)
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


def test_tables() -> None:
    ours, postfix = Sample(accepted=5000, whole_p99=2, cpu=0.5, memory=40_000_000), Sample(accepted=1000, whole_p99=30)
    results = [judge(RATE, [ours], [postfix]), judge(RATE, [replace(ours, failed=2)], [postfix])]
    lines = text(results).splitlines()
    assert "5,000 msg/s" in lines[2]
    assert "yes" in lines[2]
    assert "NO" in lines[3]
    assert lines[-1] == "rate: 2 failed"
    assert len({len(line) for line in lines[:4]}) == 1
    assert markdown(results).count("\n") == 3
