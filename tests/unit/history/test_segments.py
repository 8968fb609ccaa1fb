# SPDX-License-Identifier: GPL-3.0-or-later
from pathlib import Path

import pytest

from relay_agent.history.segments import create, remove_all, segments, to_remove

DAY = 86_400.0


def test_segments_are_listed_oldest_first_and_nothing_else_is_one(tmp_path: Path) -> None:
    assert segments(tmp_path / "missing") == []
    second, first = create(tmp_path, 2000.5), create(tmp_path, 1000.25)
    (tmp_path / "x.jsonl").touch()
    (tmp_path / "lock").touch()
    assert segments(tmp_path) == [first, second]
    assert [each.begins for each in segments(tmp_path)] == [1000.25, 2000.5]
    assert first.path.stat().st_mode & 0o777 == 0o600


def test_what_is_too_old_goes_by_its_last_event(tmp_path: Path) -> None:
    old, middle, new = (create(tmp_path, day * DAY) for day in (1, 2, 3))
    assert to_remove(tmp_path, 3.5 * DAY, 1.6 * DAY, 1 << 40) == []
    assert to_remove(tmp_path, 4 * DAY, 1.6 * DAY, 1 << 40) == [old]
    assert to_remove(tmp_path, 5 * DAY, 1.6 * DAY, 1 << 40) == [old, middle]
    assert to_remove(tmp_path, 9 * DAY, 1.6 * DAY, 1 << 40) == [old, middle, new]


def test_what_is_too_much_goes_oldest_first_and_the_newest_stays(tmp_path: Path) -> None:
    first, second, third = (create(tmp_path, DAY + number) for number in range(3))
    size = 1000
    for each in (first, second, third):
        each.path.write_bytes(bytes(size))
    assert to_remove(tmp_path, 2 * DAY, 30 * DAY, 2 * size) == [first]
    assert to_remove(tmp_path, 2 * DAY, 30 * DAY, 0) == [first, second]
    assert third.size() == size


def test_everything_is_forgotten_at_once(tmp_path: Path) -> None:
    create(tmp_path, 1.0)
    create(tmp_path, 2.0)
    remove_all(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == []
    remove_all(tmp_path / "missing")


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        create(tmp_path / "missing", 1.0)
