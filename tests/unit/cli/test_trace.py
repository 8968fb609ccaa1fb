# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from relay_agent.cli.main import main
from relay_agent.config.load import read_config
from relay_agent.history.keeping import begin_history
from relay_agent.observability.log import MailLog
from tests.unit.cli.test_queue import message, put


@pytest.fixture
def run(config: Path) -> Any:
    return lambda *arguments: main([*arguments, "--config", str(config)])


@pytest.fixture
def past(config: Path) -> None:
    """A message that came and went."""
    (config.parent / "queue").mkdir()
    log = MailLog(io.StringIO())
    history = begin_history(read_config(config), log)
    assert history is not None
    log.message_event(
        "accepted", {"to": ["bob@beta.test"]}, queue_id="GONE", sender="alice@alpha.test", message_id="<m@alpha.test>"
    )
    log.event("delivered", queue_id="GONE", recipient="bob@beta.test", host="mx", reply="250 Ok")
    history.close()


@pytest.mark.usefixtures("past")
def test_what_left_is_found_without_an_agent(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["gone"], ["m@alpha.test"], ["--recipient", "bob@beta.test"], ["--id", "GONE", "--since", "1h"]):
        assert run("trace", *words) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "Message GONE"
        assert "Accepted from <alice@alpha.test>, for <bob@beta.test>" in lines[1]
        assert "Delivered to <bob@beta.test>: mx answered 250 Ok" in lines[2]
        assert lines[3] == "  It has left the queue: everybody's server has taken it."
    assert run("trace", "gone", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert [event["event"] for event in found["events"]] == ["accepted", "delivered"]
    assert found["queued"] is None
    assert run("queue", "show", "gone") == 0
    assert capsys.readouterr().out.startswith("Message GONE has left the queue.\n\nWhat happened:\n  20")


@pytest.mark.usefixtures("past")
def test_what_is_not_found_says_where_it_was_looked_for(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trace", "--sender", "nobody@alpha.test") == 1
    assert (
        "nothing found for sender nobody@alpha.test: looked in the queue and the history, which is kept for 30 d"
        in capsys.readouterr().err
    )
    assert run("trace", "nobody", "--json", "--since", "2d") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == []
    assert "the history of the last 2d" in captured.err
    assert run("trace", "nobody", "--since", "yesterday") == 2
    assert "--since yesterday" in capsys.readouterr().err


def test_what_only_the_queue_knows_is_found_there(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = message("bob@beta.test")
    asyncio.run(put(tmp_path / "queue", ours))
    for words in ([ours.queue_id.lower()], ["bob@beta.test"], ["--sender", "alice@alpha.test"]):
        assert run("trace", *words) == 0
        assert f"Message {ours.queue_id}\n  It is in the queue for 1 recipient" in capsys.readouterr().out
    assert run("trace", "--message-id", "x@alpha.test") == 1
