# SPDX-License-Identifier: GPL-3.0-or-later
import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relay_agent.history import writer as module
from relay_agent.history.finder import Wanted, find
from relay_agent.history.segments import create, segments
from relay_agent.history.writer import HistoryWriter
from relay_agent.observability import measured

Open = Callable[..., HistoryWriter]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    writers: list[HistoryWriter] = []

    def make(**options: Any) -> HistoryWriter:
        given = {"keep": 30 * 86_400.0, "max_size": 1 << 30, "minimum_free": 0, "gather": 0.01, **options}
        writers.append(HistoryWriter(tmp_path / "history", **given))
        return writers[-1]

    yield make
    for each in writers:
        each.close()


def line(queue_id: str, event: str = "delivered", **fields: Any) -> str:
    return json.dumps({"ts": time.time(), "event": event, "queue_id": queue_id, **fields}, separators=(",", ":"))


def ids(directory: Path, **wanted: Any) -> list[str]:
    return [each["id"] for each in find(directory / "history", Wanted(**wanted))]


def test_events_are_found_by_all_that_names_a_message(opened: Open, tmp_path: Path) -> None:
    history = opened()
    history.put(line("A1", "accepted", sender="Alice@alpha.test", message_id="<m@alpha.test>", to=["bob@beta.test"]))
    history.put(line("A1", "delivered", sender="alice@alpha.test", recipient="Carl@beta.test"))
    history.put(line("A2", "delivered", sender="alice@alpha.test", recipient="dora@beta.test"))
    assert history.flush()
    for wanted in (
        {"queue_id": "a1"},
        {"message_id": "m@alpha.test"},
        {"sender": "alice@ALPHA.test"},
        {"recipient": "BOB@beta.test"},
        {"recipient": "carl@beta.test"},
    ):
        assert ids(tmp_path, **wanted) == ["A1"], wanted


def test_what_two_processes_write_is_in_the_same_files(opened: Open, tmp_path: Path) -> None:
    first, second = opened(), opened()
    for number in range(200):
        (first, second)[number % 2].put(line(f"B{number}", recipient="bob@beta.test"))
    assert first.flush()
    assert second.flush()
    assert len(segments(tmp_path / "history")) == 1
    assert len(ids(tmp_path, recipient="bob@beta.test", limit=1000)) == 200


def test_what_is_left_is_written_at_the_end(opened: Open, tmp_path: Path) -> None:
    history = opened(gather=60.0)
    history.put(line("C1", recipient="bob@beta.test"))
    history.close()
    assert ids(tmp_path, recipient="bob@beta.test") == ["C1"]


def test_old_days_go_and_a_new_day_has_a_new_file(opened: Open, tmp_path: Path) -> None:
    directory = tmp_path / "history"
    directory.mkdir()
    old, yesterday = create(directory, time.time() - 40 * 86_400), create(directory, time.time() - 86_400)
    history = opened()
    history.put(line("D1"))
    assert history.flush()
    found = segments(directory)
    assert old not in found
    assert found[0] == yesterday
    assert len(found) == 2


def test_no_more_is_kept_than_is_allowed(opened: Open, tmp_path: Path) -> None:
    history = opened(max_size=2_000_000)
    for start in range(0, 8000, 500):
        for number in range(start, start + 500):
            history.put(line(f"E{number:05}", recipient=f"user{number}@beta.test", reply="x" * 300))
        assert history.flush()
    assert sum(each.size() for each in segments(tmp_path / "history")) < 3_000_000
    assert ids(tmp_path, queue_id="E00001") == []
    assert ids(tmp_path, queue_id="E07999") == ["E07999"]


def test_a_line_that_a_crash_cut_off_spoils_no_other(opened: Open, tmp_path: Path) -> None:
    directory = tmp_path / "history"
    directory.mkdir()
    create(directory, time.time()).path.write_text(line("F1") + "\n" + line("F2")[:-5])
    history = opened()
    history.put(line("F3"))
    assert history.flush()
    assert ids(tmp_path, queue_id="F3") == ["F3"]
    assert ids(tmp_path, queue_id="F2") == []
    assert ids(tmp_path, queue_id="F1") == ["F1"]


def test_a_write_that_ends_in_the_middle_is_taken_back(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = opened()
    history.put(line("H1"))
    assert history.flush()
    write = os.write
    answers: Iterator[int | OSError] = iter([5, OSError(errno.ENOSPC, "No space left on device")])

    def failing(file: int, data: bytes) -> int:
        answer = next(answers, None)
        if isinstance(answer, OSError):
            raise answer
        return write(file, data if answer is None else data[:answer])

    monkeypatch.setattr(os, "write", failing)
    history.put(line("H2"))
    assert history.flush()
    history.put(line("H3"))
    assert history.flush()
    (segment,) = segments(tmp_path / "history")
    assert [json.loads(each)["queue_id"] for each in segment.path.read_text().splitlines()] == ["H1", "H3"]


def test_trouble_loses_history_and_counts_it(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = dict(measured.HISTORY_EVENTS)
    history = opened(minimum_free=1 << 60)
    history.put(line("G1"))
    assert history.flush()
    assert measured.HISTORY_EVENTS["refused"] - before.get("refused", 0) == 1
    assert "are left to the queue" in caplog.text
    monkeypatch.setattr(module, "_MOST_WAITING", -1)
    history.put(line("G2"))
    assert measured.HISTORY_EVENTS["overflow"] - before.get("overflow", 0) == 1
