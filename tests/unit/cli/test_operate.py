# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from relay_agent.cli.main import main
from tests.unit.cli.test_queue import message, put


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def run(config: Path) -> Any:
    return lambda *arguments: main([*arguments, "--config", str(config)])


def test_mail_is_held_and_released_by_what_it_has_in_common(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(
        put(tmp_path / "queue", message("bob@beta.test", "carl@gamma.test"), message("dora@beta.test", later=1))
    )
    assert run("queue", "hold", "--destination", "beta.test") == 0
    assert capsys.readouterr().out == "2 messages (2 recipients) held\n"
    assert run("queue", "list") == 0
    text = capsys.readouterr().out
    assert "451 4.7.1 try later" in text
    assert "3 recipients in 2 groups, 2 held; the oldest came" in text
    assert run("queue", "list", "--held", "--groups", "--json") == 0
    (group,) = json.loads(capsys.readouterr().out)
    assert (group["destination"], group["held"], group["next_attempt"]) == ("beta.test", 2, None)
    assert run("queue", "list", "--account", "nobody") == 0
    assert capsys.readouterr().out == "nothing in the queue fits\n"
    assert run("queue", "release", "--all", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"messages": 2, "recipients": 2, "busy": 0, "unknown": []}
    assert run("queue", "retry", "--recipient", "carl@gamma.test") == 0
    assert capsys.readouterr().out == "1 message (1 recipient) due now\n"
    assert run("queue", "hold", "NOTHING") == 1
    assert capsys.readouterr().err == "relay-agent: NOTHING is not in the queue\n"


def test_a_bounce_without_an_agent_waits_for_it_in_the_queue(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = message("bob@beta.test")
    asyncio.run(put(tmp_path / "queue", ours))
    assert run("queue", "bounce", ours.queue_id, "--because", "wrong\naddress") == 0
    assert capsys.readouterr().out == "1 message (1 recipient) given up; their senders are told\n"
    assert run("queue", "list", "--json") == 0
    (bounce,) = json.loads(capsys.readouterr().out)
    assert bounce["sender"] == ""
    assert bounce["recipients"][0]["address"] == "alice@alpha.test"
    # What was done is told, as is where it is found.
    assert run("trace", ours.queue_id) == 0
    text = capsys.readouterr().out
    assert "the operator of the relay gave up on it: wrong address" in text
    assert f"A bounce was written to <alice@alpha.test>: message {bounce['id']}" in text


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_on_a_terminal_it_asks_before_it_destroys(
    run: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    left: int,
) -> None:
    asyncio.run(put(tmp_path / "queue", message("bob@beta.test")))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run("queue", "delete", "--destination", "beta.test") == left
    assert "1 message (1 recipient) to delete. The senders are not told. Go on? [y/N] " in terminal.getvalue()
    capsys.readouterr()
    assert run("queue", "list", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == left
    if left:
        assert "nothing was changed" in terminal.getvalue()
        assert run("queue", "delete", "--all", "--yes") == 0


@pytest.mark.parametrize(
    "arguments",
    [
        "queue hold",
        "queue bounce --yes",
        "queue delete --all ABC",
        "queue export --all",
        "queue retry --all --held",
        "trace",
    ],
)
def test_what_is_meant_has_to_be_said(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err
