# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of the other tests here: what it lets pass, and what not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .load import RECORDED_WITHIN, Arrivals, Load

DEATH = 1_000_000.0  # seconds since the epoch


def arrive(directory: Path, token: str, *moments: float) -> None:
    for number, moment in enumerate(moments):
        path = directory / f"{token}.{number}"
        path.write_text(f"token-{token}-end\n")
        os.utime(path, (moment, moment))


def acknowledged(*tokens: str) -> Load:
    load = Load(0)
    load.acknowledged.update(dict.fromkeys(tokens, DEATH))
    return load


@pytest.mark.parametrize("before", [0.0, RECORDED_WITHIN / 2])
def test_what_had_just_come_may_come_again(tmp_path: Path, before: float) -> None:
    arrive(tmp_path, "a", DEATH - before, DEATH + 30)
    assert "1 delivered twice" in Arrivals(tmp_path).check(acknowledged("a"), [DEATH - 99, DEATH])


@pytest.mark.parametrize("before", [-5.0, -1.0, RECORDED_WITHIN + 0.5, 5.0])
def test_what_came_at_another_time_may_not(tmp_path: Path, before: float) -> None:
    arrive(tmp_path, "a", DEATH - before, DEATH + 30)
    with pytest.raises(AssertionError, match="twice without a reason"):
        Arrivals(tmp_path).check(acknowledged("a"), [DEATH])


def test_nothing_may_come_again_without_a_death(tmp_path: Path) -> None:
    arrive(tmp_path, "a", DEATH, DEATH)
    with pytest.raises(AssertionError, match="twice without a reason"):
        Arrivals(tmp_path).check(acknowledged("a"), [])


def test_what_was_acknowledged_must_come(tmp_path: Path) -> None:
    arrive(tmp_path, "a", DEATH)
    with pytest.raises(AssertionError, match="1 of 2 acknowledged messages are missing"):
        Arrivals(tmp_path).check(acknowledged("a", "b"), [])


def test_what_was_refused_or_not_sent_must_not_come(tmp_path: Path) -> None:
    arrive(tmp_path, "a", DEATH)
    with pytest.raises(AssertionError, match="nobody sent"):
        Arrivals(tmp_path).check(acknowledged(), [])
    load = acknowledged()
    load.refused.add("a")
    with pytest.raises(AssertionError, match="refused message"):
        Arrivals(tmp_path).check(load, [])
