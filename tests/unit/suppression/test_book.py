# SPDX-License-Identifier: GPL-3.0-or-later
"""The book: what enters, what leaves, and what a restart finds."""

import json
from pathlib import Path
from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.suppression.book import Book, book_file, read_changes
from relay_agent.suppression.entry import Cause, Entry, Gone

DAY = 86_400.0


def config(directory: Path, **suppression: Any) -> Config:
    return Config.model_validate(
        {
            "hostname": "relay.test",
            "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
            "queue": {"directory": str(directory)},
            "suppression": {"mode": "refuse", **suppression},
        }
    )


def book(directory: Path, now: float = 0.0, **suppression: Any) -> Book:
    new = Book(config(directory, **suppression))
    new.load(now)
    return new


def test_the_file_is_in_the_queue_unless_named(tmp_path: Path) -> None:
    assert book_file(config(tmp_path)) == tmp_path / "suppression.jsonl"
    assert book_file(config(tmp_path, file="/srv/list")) == Path("/srv/list")
    assert list(read_changes(tmp_path / "nothing")) == []


def test_a_bounce_outlives_a_restart(tmp_path: Path) -> None:
    first = book(tmp_path)
    (entry,) = first.bounced("Bob@Beta.test", "alice", "550 5.1.1 no", "a@alpha.test", 10.0)
    assert isinstance(entry, Entry)
    assert (entry.address, entry.active, entry.count) == ("bob@beta.test", True, 1)
    again = book(tmp_path, 11.0)  # the first was killed
    assert list(again) == [entry]
    assert again.of("BOB@beta.test") == [entry]
    assert again.counts() == {"bounce": 1}
    first.close()


def test_it_can_take_several_bounces_within_a_time(tmp_path: Path) -> None:
    ours = book(tmp_path, after=2, within="10d")

    def bounce(now: float) -> Entry:
        (entry,) = ours.bounced("bob@beta.test", "", "no", "", now)
        assert isinstance(entry, Entry)
        return entry

    assert not bounce(0).active
    assert ours.counts() == {}
    late = bounce(11 * DAY)  # the first is too long ago: it counts from here
    assert (late.active, late.count, late.first) == (False, 1, 11 * DAY)
    assert bounce(12 * DAY).active
    assert bounce(90 * DAY).count == 3


def test_a_complaint_is_enough_and_stays_one(tmp_path: Path) -> None:
    ours = book(tmp_path, after=5)
    ours.bounced("bob@beta.test", "", "no", "", 1.0)
    (entry,) = ours.complained("bob@beta.test", "", "abuse", "", 2.0)
    assert isinstance(entry, Entry)
    assert (entry.cause, entry.active) == (Cause.COMPLAINT, True)
    assert ours.bounced("bob@beta.test", "", "no", "", 3.0) == []
    (manual,) = ours.add("bob@beta.test", "", "by phone", 4.0)
    assert isinstance(manual, Entry)
    assert manual.cause is Cause.MANUAL
    assert ours.complained("bob@beta.test", "", "abuse", "", 5.0) == []
    assert ours.complained("no address", "", "abuse", "", 5.0) == []
    with pytest.raises(ValueError, match="not a mail address"):
        ours.add("bob", "", "", 5.0)


def test_removal_by_address_owner_or_cause(tmp_path: Path) -> None:
    ours = book(tmp_path)
    for owner in ("alice", "carol", "dave"):
        ours.bounced("bob@beta.test", owner, "no", "", 1.0)
    ours.complained("bob@beta.test", "dave", "abuse", "", 1.0)
    assert ours.remove("Bob@beta.test", "alice") == [Gone("bob@beta.test", "alice")]
    assert ours.remove("bob@beta.test", "dave", only=Cause.BOUNCE) == []
    assert len(ours.remove("bob@beta.test")) == 2
    assert ours.remove("bob@beta.test") == []
    assert len(ours) == len(book(tmp_path)) == 0


def test_old_entries_go_those_by_hand_stay(tmp_path: Path) -> None:
    ours = book(tmp_path, keep="10d", after=2, within="1d")
    ours.add("hand@beta.test", "", "", 0.0)
    ours.bounced("once@beta.test", "", "no", "", 0.0)
    ours.complained("old@beta.test", "", "abuse", "", 0.0)
    ours.complained("new@beta.test", "", "abuse", "", 9 * DAY)
    assert ours.expire(2 * DAY) == [Gone("once@beta.test", "")]
    assert ours.expire(10.5 * DAY) == [Gone("old@beta.test", "")]
    assert [entry.address for entry in book(tmp_path, 30 * DAY, keep="10d")] == ["hand@beta.test"]
    assert [entry.address for entry in book(tmp_path, 900 * DAY, keep=0)] == ["hand@beta.test", "new@beta.test"]


def test_the_bound_holds_and_the_oldest_go_first(tmp_path: Path) -> None:
    ours = book(tmp_path, max_entries=100)
    ours.add("hand@beta.test", "", "", 0.0)
    for number in range(100):
        changes = ours.bounced(f"b{number}@beta.test", "", "no", "", float(number))
    assert Gone("b0@beta.test", "") in changes
    assert len(ours) == 100
    assert ours.of("hand@beta.test")
    for number in range(200):  # by hand only: then the oldest of these
        ours.add(f"h{number}@beta.test", "", "", 0.0)
    assert len(ours) == len(book(tmp_path, max_entries=100)) == 100


def test_the_file_stays_in_proportion(tmp_path: Path) -> None:
    ours = book(tmp_path)
    for number in range(3000):
        ours.bounced("bob@beta.test", "", "no", "", float(number))
    assert len((tmp_path / "suppression.jsonl").read_text().splitlines()) < 1100
    (entry,) = book(tmp_path, 3000)
    assert entry.count == 3000
    ours.sync()
    ours.close()


def test_a_damaged_file_loses_only_the_lines_that_are(tmp_path: Path) -> None:
    ours = book(tmp_path)
    ours.bounced("bob@beta.test", "", "no", "", 1.0)
    path = tmp_path / "suppression.jsonl"
    path.write_bytes(b"\xff\x00rubbish\n[1]\n" + b"[" * 20_000 + b"\n" + path.read_bytes() + b'{"address": "car')
    again = book(tmp_path)
    assert [entry.address for entry in again] == ["bob@beta.test"]
    assert again.unreadable >= 4
    assert [json.loads(line)["address"] for line in path.read_text().splitlines()] == ["bob@beta.test"]
    again.bounced("dave@beta.test", "", "no", "", 2.0)
    assert len(book(tmp_path)) == 2


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    ours = book(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        ours.bounced("bob@beta.test", "", "no", "", 1.0)
    assert len(ours) == 1
