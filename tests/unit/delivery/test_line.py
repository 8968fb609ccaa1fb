# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose turn it is in a destination's line."""

from __future__ import annotations

from relay_agent.delivery.line import FairLine
from relay_agent.queue.lanes import lane_of
from relay_agent.queue.model import Envelope


def lane(account: str, priority: int = 0) -> int:
    return lane_of(Envelope("", account, {"MT-PRIORITY": str(priority)}))


def drained(line: FairLine[str]) -> str:
    found = []
    while (item := line.take()) is not None:
        found.append(item)
    assert not len(line)
    return "".join(found)


def test_one_letter_overtakes_another_accounts_thousand() -> None:
    line: FairLine[str] = FairLine()
    for _ in range(1000):
        line.add("n", lane("news"))
    line.add("A", lane("alice"))
    assert len(line) == 1001
    assert drained(line).index("A") <= 1


def test_large_messages_take_more_of_a_turn() -> None:
    line: FairLine[str] = FairLine()
    for _ in range(4):
        line.add("L", lane("large"), 4.0)
        line.add("s", lane("small"))
    assert drained(line).count("s", 0, 5) >= 3
    assert not line.take()


def test_urgent_first_within_an_account_and_nothing_waits_for_ever() -> None:
    line: FairLine[str] = FairLine()
    line.add("c", lane("alice", -4))
    for _ in range(30):
        line.add("u", lane("alice", 4))
    order = drained(line)
    assert order[0] == "u"
    assert order.index("c") == 7


def test_what_is_put_back_is_next_and_what_is_dropped_is_gone() -> None:
    line: FairLine[str] = FairLine()
    for item in "ab":
        line.add(item, lane(item))
    first = line.take()
    assert first is not None
    line.put_back(first, lane(first), 3.0)
    assert line.take() == first
    line.add("x", lane("b"))
    assert sorted(line.drop(lambda item: item == "b")) == ["b"]
    assert line.drop(lambda item: item == "nobody") == []
    assert line.take_all() == ["x"]
    assert line.take() is None
