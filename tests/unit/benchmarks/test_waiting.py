# SPDX-License-Identifier: GPL-3.0-or-later
"""The delays read from a log, and the percentile of them."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.waiting import delays, percentile


def test_only_deliveries_of_that_sender_count(tmp_path: Path) -> None:
    log = tmp_path / "log"
    events = [
        {"event": "accepted", "sender": "a@bench.test"},
        {"event": "delivered", "sender": "a@bench.test", "delay": 0.25},
        {"event": "delivered", "sender": "b@bench.test", "delay": 9},
        {"event": "deferred", "sender": "a@bench.test", "delay": 7, "reply": 'not "delivered"'},
        {"event": "delivered", "sender": "a@bench.test", "delay": 3},
    ]
    log.write_text("".join(f"{json.dumps(event)}\n" for event in events) + "not JSON\n")
    assert delays(log, "a@bench.test") == [0.25, 3.0]


def test_percentile() -> None:
    assert percentile([], 0.99) == 0.0
    assert percentile([5.0], 0.99) == 5.0
    assert percentile(range(1, 101), 0.5) == 51
    assert percentile([*range(99, 0, -1), 1000], 0.99) == 1000
