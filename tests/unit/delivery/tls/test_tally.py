# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting for reports, in memory and on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_agent.delivery.tls import tally
from relay_agent.delivery.tls.policy import ResultType
from relay_agent.delivery.tls.tally import Applied, Count, DayFiles, Failure, Tally, today

_NOON = 1_795_521_600.0  # 2026-11-24 12:00 UTC
_DAY = 86_400.0
_STS = Applied("example.org", "sts", ("version: STSv1",), ("*.example.org",))
_REFUSED = Failure(ResultType.NO_STARTTLS, "none offered", "mx.example.org", "192.0.2.1", "198.51.100.1")


def test_the_day_is_of_utc() -> None:
    assert today(_NOON) == "2026-11-24"
    assert today(_NOON + _DAY / 2 - 1) == "2026-11-24"
    assert today(_NOON + _DAY / 2) == "2026-11-25"


def test_workers_add_up(tmp_path: Path) -> None:
    files = DayFiles(tmp_path / "reports")
    for _ in range(2):
        counts = Tally()
        counts.note(_STS, None, _NOON)
        counts.note(_STS, _REFUSED, _NOON)
        counts.note(_STS, _REFUSED, _NOON)
        counts.note(_STS, None, _NOON + _DAY)
        files.append(counts.take())
        assert counts.take() == {}
    day = files.read("2026-11-24")[_STS]
    assert (day.good, dict(day.failures)) == (2, {_REFUSED: 4})
    assert files.read("2026-11-25")[_STS].good == 2
    assert files.read("2026-11-26") == {}


def test_which_days_are_over(tmp_path: Path) -> None:
    files = DayFiles(tmp_path)
    assert files.over(_NOON) == []
    for number in range(3):
        files.append({today(_NOON + number * _DAY): {_STS: Count(1)}})
    assert files.over(_NOON + _DAY) == ["2026-11-24"]
    assert files.over(_NOON + 2 * _DAY) == ["2026-11-24", "2026-11-25"]
    assert not files.too_old("2026-11-24", _NOON + 3 * _DAY)
    assert files.too_old("2026-11-24", _NOON + 4 * _DAY)
    files.note_done("2026-11-24", "example.org mailto:x@example.org")
    assert files.done("2026-11-24") == {"example.org mailto:x@example.org"}
    files.remove("2026-11-24")
    assert files.done("2026-11-24") == set()
    assert files.over(_NOON + 2 * _DAY) == ["2026-11-25"]


@pytest.mark.parametrize(
    "line", [b"", b"[1", b"7", b'["a"]', b"\xff", b'["a","sts",[],[],1,[["nonsense","","","","",1]]]']
)
def test_damaged_lines_are_passed_over(tmp_path: Path, line: bytes) -> None:
    files = DayFiles(tmp_path)
    files.append({"2026-11-24": {_STS: Count(1)}})
    with (tmp_path / "2026-11-24.counts").open("ab") as file:
        file.write(line + b"\n")
    files.append({"2026-11-24": {_STS: Count(1)}})
    assert {applied: count.good for applied, count in files.read("2026-11-24").items()} == {_STS: 2}


def test_one_sends_at_a_time(tmp_path: Path) -> None:
    one, other = DayFiles(tmp_path), DayFiles(tmp_path)
    with one.lock() as ours:
        assert ours
        with other.lock() as theirs:
            assert not theirs
    with other.lock() as theirs:
        assert theirs
    with DayFiles(tmp_path / "missing").lock() as ours:
        assert not ours


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "_MOST_POLICIES", 2)
    monkeypatch.setattr(tally, "_MOST_FAILURES", 3)
    counts = Tally()
    for number in range(5):
        counts.note(Applied(f"d{number}.example", "sts"), None, _NOON)
        counts.note(Applied("d0.example", "sts"), Failure(ResultType.FAILURE, f"kind {number}"), _NOON)
    (day,) = counts.take().values()
    assert len(day) == 2
    failures = day[Applied("d0.example", "sts")].failures
    assert failures.total() == 5
    assert len(failures) == 4
    counts.note(_STS, None, _NOON)
    assert len(counts.take()) == 1
