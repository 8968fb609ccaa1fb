# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that may take long show on a terminal how far they are, and say nothing of it elsewhere."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from pathlib import Path

import pytest

from relay_agent.cli import selected
from relay_agent.cli.main import main
from relay_agent.config.load import read_config
from relay_agent.control import history as finding
from relay_agent.history.keeping import begin_history
from relay_agent.observability.log import MailLog
from tests.unit.cli.test_queue import message, put


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is a long one."""
    monkeypatch.setattr(selected, "_NOT_BEFORE", 0.0)
    monkeypatch.setattr(selected, "_PAUSE", 0.0)
    monkeypatch.setattr(finding, "_BETWEEN", 0.0)


@pytest.fixture
def waiting(config: Path) -> Path:
    """A configuration with mail that waits, and a history of mail that left."""
    first = message("bob@beta.test", "carl@beta.test")
    time.sleep(0.002)  # ids are in order from one millisecond to the next
    asyncio.run(put(config.parent / "queue", first, message("dora@beta.test")))
    log = MailLog(io.StringIO())
    history = begin_history(read_config(config), log)
    assert history is not None
    log.message_event("accepted", {"to": ["erin@beta.test"]}, queue_id="GONE", sender="alice@alpha.test")
    history.close()
    return config


@pytest.mark.parametrize(
    ("command", "progress"),
    [
        ("queue list --each", "reading the queue: 2 recipients so far"),
        ("queue list --json", "reading the queue: 2 recipients so far"),
        ("queue list --destination beta.test --json", "reading the queue: 3 recipients so far"),
        ("queue list --account nobody --each", "reading the queue: 0 recipients so far"),
        ("queue list", "reading the queue: 3 recipients so far"),
        ("queue hold --all", "hold: 3 recipients so far"),
        ("queue retry --all", "retry: 3 recipients so far"),
        ("queue export --all --json --to TARGET", "export: 3 recipients so far"),
        ("trace bob@beta.test", "reading the queue: 1 recipient so far"),
        ("trace GONE", "reading the history: "),
        ("queue show GONE", "reading the history: "),
    ],
)
def test_long_runs_show_progress_on_a_terminal(
    waiting: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    progress: str,
) -> None:
    words = command.replace("TARGET", str(tmp_path / "target")).split()
    terminal = Terminal()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        assert main([*words, "--config", str(waiting)]) == 0
    shown = terminal.getvalue()
    assert progress in shown
    assert shown.endswith("\r\x1b[K")
    assert capsys.readouterr().out
    assert main([*words, "--config", str(waiting)]) == 0
    again = capsys.readouterr()
    assert again.err == ""
    if "--json" in words:
        json.loads(again.out)
