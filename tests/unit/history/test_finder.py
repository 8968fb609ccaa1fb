# SPDX-License-Identifier: GPL-3.0-or-later
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay_agent.history.finder import Wanted, find
from relay_agent.history.segments import segments
from relay_agent.history.writer import HistoryWriter


@pytest.fixture
def history(tmp_path: Path) -> Iterator[HistoryWriter]:
    writer = HistoryWriter(tmp_path, keep=30 * 86_400.0, max_size=1 << 30, minimum_free=0, gather=0.01)
    yield writer
    writer.close()


def put(history: HistoryWriter, *events: dict[str, Any]) -> None:
    for event in events:
        history.put(json.dumps({"ts": time.time(), **event}, separators=(",", ":")))
    assert history.flush()


def test_events_come_in_order_of_time_and_messages_newest_first(history: HistoryWriter, tmp_path: Path) -> None:
    put(
        history,
        {"event": "delivered", "queue_id": "A", "recipient": "bob@beta.test", "ts": 20.0},
        {"event": "accepted", "queue_id": "A", "sender": "alice@alpha.test", "ts": 10.0},
        {"event": "accepted", "queue_id": "B", "sender": "alice@alpha.test", "to": ["bob@beta.test"]},
    )
    found = find(tmp_path, Wanted(anything="bob@beta.test"))
    assert [each["id"] for each in found] == ["B", "A"]
    assert [event["event"] for event in found[1]["events"]] == ["accepted", "delivered"]
    assert [each["id"] for each in find(tmp_path, Wanted(sender="alice@alpha.test", since=time.time() - 60))] == ["B"]
    assert [each["id"] for each in find(tmp_path, Wanted(anything="<bob@beta.test>", limit=1))] == ["B"]


def test_all_that_is_given_has_to_fit(history: HistoryWriter, tmp_path: Path) -> None:
    put(
        history,
        {"event": "accepted", "queue_id": "A", "sender": "alice@alpha.test", "to": ["bob@beta.test"]},
        {"event": "accepted", "queue_id": "B", "sender": "alice@alpha.test", "to": ["carl@beta.test"]},
    )
    found = find(tmp_path, Wanted(sender="alice@alpha.test", recipient="carl@beta.test"))
    assert [each["id"] for each in found] == ["B"]
    assert find(tmp_path, Wanted(sender="alice@alpha.test", recipient="dora@beta.test")) == []


def test_a_bounce_is_told_along(history: HistoryWriter, tmp_path: Path) -> None:
    put(
        history,
        {"event": "bounced", "queue_id": "A", "bounce": "C", "to": "alice@alpha.test"},
        {"event": "delivered", "queue_id": "C", "recipient": "alice@alpha.test"},
    )
    assert [each["id"] for each in find(tmp_path, Wanted(queue_id="a"))] == ["C", "A"]


def test_there_may_be_no_history_or_a_broken_one(history: HistoryWriter, tmp_path: Path) -> None:
    assert find(tmp_path / "missing", Wanted(anything="x")) == []
    put(history, {"event": "delivered", "queue_id": "A", "recipient": "bob@beta.test"})
    (segment,) = segments(tmp_path)
    broken = (
        b'\xff\x00 A "queue_id":"A\n{"queue_id":"A","ts":"x"}\n{"queue_id":"A"}\n["queue_id":"A"]\n' + b"[" * 100_000
    )
    (tmp_path / "1.jsonl").write_bytes(broken)
    (tmp_path / "2.jsonl").mkdir()
    assert [each["id"] for each in find(tmp_path, Wanted(anything="A"))] == ["A"]
    assert segment.size() > 0


@pytest.mark.parametrize("address", ["jörg@exämple.test", 'o"brien@beta.test', "Ünsal@beta.test", "\\@beta.test"])
def test_addresses_of_any_letters_are_found(history: HistoryWriter, tmp_path: Path, address: str) -> None:
    put(
        history,
        {"event": "delivered", "queue_id": "A", "recipient": address},
        {"event": "delivered", "queue_id": "B", "recipient": "x" + address},
    )
    assert [each["id"] for each in find(tmp_path, Wanted(recipient=address.upper()))] == ["A"]


def test_a_text_in_another_field_is_no_hit(history: HistoryWriter, tmp_path: Path) -> None:
    put(
        history,
        {"event": "delivered", "queue_id": "A", "recipient": "bob@beta.test", "reply": "carl@beta.test moved"},
        {"event": "delivered", "queue_id": "B", "recipient": "bob@beta.test", "sender": "carl@beta.test"},
    )
    assert find(tmp_path, Wanted(anything="carl@beta.test")) == []
