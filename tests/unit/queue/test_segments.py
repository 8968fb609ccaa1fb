# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a journal: which there are, in which order they are freed, and what a refusing disk leaves."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_agent.queue import segments as module
from relay_agent.queue.journal_format import BATCH_SIZE, encode_done, read_batches
from relay_agent.queue.segments import Segments, segment_files

SIZE = 4096
ENTRY = encode_done({"A" * 1500: [0]})  # two fit


class Room:
    """What `Segments` asks before it grows."""

    def __init__(self) -> None:
        self.full = False
        self.owned: list[Path] = []

    def __call__(self, size: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "full")


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(module, "SEGMENT_SIZE", SIZE)
    return Room()


@pytest.fixture
def segments(tmp_path: Path, room: Room) -> Iterator[Segments]:
    made = Segments(tmp_path, room, room.owned.append)
    yield made
    made.close()


def descriptors() -> int:
    """How many are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def names(directory: Path) -> list[str]:
    """What lies there, in order."""
    return sorted(path.name.split("-")[0] for path in directory.iterdir())


def numbers(directory: Path) -> list[list[int]]:
    """The numbers of the batches in each segment."""
    return [
        [batch.number for batch in read_batches(path.read_bytes(), epoch)] for path, epoch in segment_files(directory)
    ]


def test_batches_go_one_behind_the_other_and_into_new_files(segments: Segments, tmp_path: Path, room: Room) -> None:
    places = [segments.append([ENTRY], number) for number in range(5)]
    assert numbers(tmp_path) == [[0, 1], [2, 3], [4]]
    assert [at for _, at in places[:2]] == [BATCH_SIZE, 2 * BATCH_SIZE + len(ENTRY)]
    assert segments.size == 3 * SIZE
    assert all(path.stat().st_size == SIZE for path, _ in segment_files(tmp_path))
    assert len({epoch for _, epoch in segment_files(tmp_path)}) == 3
    assert len(room.owned) == 3


def test_a_batch_that_fits_nowhere_has_a_file_of_its_own(segments: Segments, tmp_path: Path) -> None:
    segments.append([ENTRY], 1)
    segments.append([ENTRY] * 10, 2)
    segments.append([ENTRY], 3)
    assert numbers(tmp_path) == [[1], [2], [3]]
    assert segments.size > 3 * SIZE
    segments.free()
    assert segments.size == SIZE
    # It is no spare: that would be too large.
    assert all(path.stat().st_size == SIZE for path in tmp_path.iterdir())


def test_the_oldest_go_first_and_none_from_the_middle(segments: Segments, tmp_path: Path) -> None:
    placed = [segments.append([ENTRY], number)[0] for number in range(8)]
    first, second, third, last = dict.fromkeys(placed)
    first.live = third.live = 1
    segments.free()
    assert list(segments.open) == [first, second, third, last]
    first.live = 0
    segments.free()
    assert list(segments.open) == [third, last]
    assert names(tmp_path) == ["000000000003", "000000000004", "spare", "spare"]
    third.live = 0
    segments.free()
    assert list(segments.open) == [last]  # where the next batch goes
    assert names(tmp_path) == ["000000000004", "spare", "spare"]


def test_what_is_used_again_shows_nothing_of_before(segments: Segments, tmp_path: Path) -> None:
    for number in range(4):
        segments.append([ENTRY], number)
    segments.free()
    assert not segments.wants_spare or names(tmp_path).count("spare") == 1
    segments.append([ENTRY], 4)
    assert numbers(tmp_path)[-1] == [4]
    path, _ = segment_files(tmp_path)[-1]
    assert path.read_bytes().count(b"A" * 1500) == 2  # the second one is of its earlier use


def test_spares_are_whole_and_leave_with_the_journal(segments: Segments, tmp_path: Path, room: Room) -> None:
    (tmp_path / "spare-7").write_bytes(b"half")
    again = Segments(tmp_path, room, room.owned.append)
    assert names(tmp_path) == []
    while again.wants_spare:
        again.prepare()
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [SIZE, SIZE]
    segment, _ = again.append([ENTRY], 1)
    assert names(tmp_path) == ["000000000001", "spare"]
    segment.live = 1
    again.close()
    assert names(tmp_path) == ["000000000001", "spare"]
    segments.close()
    assert names(tmp_path) == ["000000000001", "spare"]


def test_an_empty_journal_leaves_nothing(segments: Segments, tmp_path: Path) -> None:
    segments.prepare()
    for number in range(3):
        segments.append([ENTRY], number)
    segments.close()
    assert names(tmp_path) == []


def test_without_room_only_outcomes_are_written(segments: Segments, tmp_path: Path, room: Room) -> None:
    segments.append([ENTRY], 1)
    room.full = True
    segments.append([ENTRY], 2)  # fits still
    with pytest.raises(OSError, match="full"):
        segments.append([ENTRY], 3)
    with pytest.raises(OSError, match="full"):
        segments.prepare()
    segments.append([ENTRY], 3, grows=False)
    assert numbers(tmp_path) == [[1, 2], [3]]


@pytest.mark.parametrize("call", ["open", "fsync", "posix_fallocate", "fdatasync", "rename"])
def test_a_segment_that_cannot_be_made_leaves_nothing(
    segments: Segments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for number in (1, 2):
        segments.append([ENTRY], number)
    before = descriptors()

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "no descriptors")

    monkeypatch.setattr(Path if call == "rename" else os, call, fail)
    for _ in range(3):
        with pytest.raises(OSError, match="no descriptors"):
            segments.append([ENTRY], 3)
    monkeypatch.undo()
    monkeypatch.setattr(module, "SEGMENT_SIZE", SIZE)
    assert names(tmp_path) == ["000000000001"]
    assert descriptors() == before
    segments.append([ENTRY], 3)
    assert numbers(tmp_path) == [[1, 2], [3]]


def test_a_write_that_fails_half_way_does_not_count(
    segments: Segments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments.append([ENTRY], 1)
    write = os.pwrite
    calls = 0

    def half(fd: int, data: memoryview, at: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EIO, "broken")
        return write(fd, data[: len(data) - 10] if calls == 1 else data, at)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(OSError, match="broken"):
        segments.append([ENTRY], 2)
    monkeypatch.setattr(os, "pwrite", write)
    segments.append([ENTRY], 2)
    assert numbers(tmp_path) == [[1], [2]]
    segments.free()
    assert not any(path.name.startswith("spare") for path in tmp_path.iterdir())  # who knows what the disk has of it


def test_a_file_that_cannot_be_removed_stops_nothing(
    segments: Segments, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(6):
        segments.append([ENTRY], number)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(Path, "rename", fail)
    monkeypatch.setattr(Path, "unlink", fail)
    segments.free()
    monkeypatch.undo()
    assert len(segments.open) == 1
    assert "cannot be removed: [Errno 30] read-only" in caplog.text


def test_only_segments_are_taken_for_segments(tmp_path: Path) -> None:
    good = [tmp_path / f"{serial:012d}-{serial:016x}.log" for serial in (9, 10, 100)]
    for path in good:
        path.touch()
    for name in ("1-zzzzzzzzzzzzzzzz.log", "x-0000000000000001.log", "1-01.log", "note.txt", "spare-1"):
        (tmp_path / name).touch()
    assert segment_files(tmp_path) == [(good[0], 9), (good[1], 10), (good[2], 100)]
