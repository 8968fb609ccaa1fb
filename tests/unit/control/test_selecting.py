# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from relay_agent.control.protocol import ControlError
from relay_agent.control.selecting import cursor_from, is_time, selection_from
from relay_agent.queue.selection import Selection


def test_a_selection_is_what_the_request_has() -> None:
    assert selection_from({}) == Selection()
    given = {"ids": ["a", "A", "b"], "held": False, "before": 5, "reason": "busy", "sender": ""}
    wanted = Selection(ids=("A", "B"), held=False, before=5, reason="busy", sender="")
    assert selection_from({"selection": given}) == wanted
    with pytest.raises(ControlError, match="'colour' is not known"):
        selection_from({"selection": {"colour": "red"}})
    with pytest.raises(ControlError, match="at most 4000 queue ids"):
        selection_from({"selection": {"ids": ["A"] * 5000}})


def test_a_cursor_is_what_the_last_answer_gave() -> None:
    assert cursor_from({}) is None
    assert cursor_from({"cursor": [3, 9]}) == (3, 9)
    for bad in ([1], [1, -1], [1, 2**70], "12", [1.0, 2]):
        with pytest.raises(ControlError, match="cursor"):
            cursor_from({"cursor": bad})


def test_what_is_a_time() -> None:
    assert is_time(0)
    assert is_time(1.79e9)
    for bad in (-1, True, "1", None, float("nan"), float("inf"), 10**400):
        assert not is_time(bad)
