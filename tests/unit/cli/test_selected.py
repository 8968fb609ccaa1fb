# SPDX-License-Identifier: GPL-3.0-or-later
import io
import sys
import time

import pytest

from relay_agent.cli import selected as module
from relay_agent.cli.main import build_parser
from relay_agent.cli.selected import UsageError, many, selection, watched


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_selection_is_what_was_given() -> None:
    def chosen(*words: str) -> dict[str, object]:
        return selection(build_parser().parse_args(["queue", "hold", *words]))

    assert chosen("--all") == {}
    assert chosen("A", "B", "--held") == {"ids": ["A", "B"], "held": True}
    assert chosen("--sender", "<>", "--account", "alice") == {"account": "alice", "sender": ""}
    before = chosen("--older", "2h")["before"]
    assert isinstance(before, float)
    assert before == pytest.approx(time.time() - 7200, abs=60)
    with pytest.raises(UsageError, match="--older soon"):
        chosen("--older", "soon")


def test_progress_is_for_terminals_and_long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [{"progress": {"recipients": 1200}}, {"done": 1}]
    plain, terminal = io.StringIO(), Terminal()
    monkeypatch.setattr(module, "_NOT_BEFORE", 0.0)
    monkeypatch.setattr(sys, "stderr", plain)
    assert list(watched(iter(items), "hold")) == [{"done": 1}]
    assert plain.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(watched(iter(items), "hold")) == [{"done": 1}]
    assert "hold: 1,200 recipients so far" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_messages_are_counted_as_they_are_worked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, out = Terminal(), io.StringIO()
    monkeypatch.setattr(module, "_NOT_BEFORE", 0.0)
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", out)
    items = [{"id": "A", "recipients": [1, 2]}, {"id": "B", "recipients": [1]}, {"progress": {"recipients": 3}}]
    for prints in (False, True):
        assert list(watched(iter(items), "export", prints=prints)) == items[:2]
        shown = [f"export: {count} so far" for count in ("0 recipients", "2 recipients", "3 recipients")]
        assert terminal.getvalue().split("\r\x1b[K") == ["", *shown, ""]
        terminal.seek(0)
        terminal.truncate()
    # What is printed line by line on the same terminal is not broken into.
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert list(watched(iter(items), "list", prints=True)) == items[:2]
    assert terminal.getvalue() == ""


def test_numbers_of_things() -> None:
    assert (many(1, "message"), many(12_000, "message")) == ("1 message", "12,000 messages")
