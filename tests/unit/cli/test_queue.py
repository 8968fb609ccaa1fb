# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from relay_agent.cli.main import main
from relay_agent.control.server import ControlServer
from relay_agent.control.store_commands import queue_handlers
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import Envelope, Message, Recipient, new_queue_id

NASTY = "busy\x1b]0;owned\x07\r\n550 \u202egnp.exe"


def message(
    *addresses: str, reply: str = "451 4.7.1 try later", account: str | None = "alice", later: float = 0
) -> Message:
    now = time.time() + later
    recipients = {
        number: Recipient(
            address,
            attempts=2,
            next_attempt=now + 600,
            last_attempt=now - 60,
            last_status="4.7.1",
            last_reply=reply,
            last_host="mx.beta.test",
        )
        for number, address in enumerate(addresses)
    }
    sender = "" if account is None else "alice@alpha.test"
    return Message(
        new_queue_id(now), Envelope(sender, account), recipients, MemoryBody(b"x" * 4096), now - 300, now + 86400
    )


async def put(directory: Path, *messages: Message) -> None:
    async with EmbeddedStore(directory, minimum_free=0) as store:
        for each in messages:
            await store.store(each)


@pytest.fixture
def run(config: Path) -> Any:
    return lambda *arguments: main(["queue", *arguments, "--config", str(config)])


def test_without_an_agent_the_queue_is_read_from_the_disk(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = message("bob@beta.test", "carl@beta.test"), message("dora@beta.test", later=1)
    asyncio.run(put(tmp_path / "queue", first, second))
    assert run("list", "--each") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].split("  ")[0] == first.queue_id
    assert "5 min" in lines[1]
    assert "mx.beta.test: 451 4.7.1 try later" in lines[2]
    assert run("list", "--json", "--limit", "1") == 0
    assert [each["id"] for each in json.loads(capsys.readouterr().out)] == [first.queue_id]
    assert run("retry", first.queue_id, "NOTHING") == 1
    captured = capsys.readouterr()
    assert captured.out == "2 recipients due now\n"
    assert captured.err == "relay-agent: NOTHING is not in the queue\n"
    assert run("delete", first.queue_id, second.queue_id.lower()) == 0
    assert capsys.readouterr().out == "2 messages deleted\n"
    assert run("list") == 0
    assert capsys.readouterr().out == "the queue is empty\n"
    assert run("list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_messages_story(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = message("bob@beta.test")
    asyncio.run(put(tmp_path / "queue", ours))
    assert run("show", ours.queue_id) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Message {ours.queue_id}, 4.1 KB, for 1 recipient still in the queue.\n")
    assert "It came from <alice@alpha.test>, who signed in as alice, 5 min" in text
    assert "<bob@beta.test>\n  Tried twice, last 1 min" in text
    assert "mx.beta.test answered: 451 4.7.1 try later" in text
    assert "The next attempt is in 9 min 59 s" in text or "The next attempt is in 10 min" in text
    assert "<alice@alpha.test> gets it back as a bounce" in text
    assert run("show", ours.queue_id, "--json") == 0
    assert json.loads(capsys.readouterr().out)["recipients"][0]["attempts"] == 2


def test_an_unknown_id_is_told(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(put(tmp_path / "queue"))
    for command in ("show", "list"):
        assert run(command, "nothing") == 1
        assert capsys.readouterr().err == "relay-agent: NOTHING is not in the queue\n"


def test_what_strangers_wrote_does_not_reach_the_terminal(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = message("\x1b[2J@beta.test", reply=NASTY)
    asyncio.run(put(tmp_path / "queue", ours))
    for arguments in (
        ["list"],
        ["list", "--each"],
        ["show", ours.queue_id],
        ["list", "--json"],
        ["show", ours.queue_id, "--json"],
    ):
        assert run(*arguments) == 0
        assert capsys.readouterr().out.replace("\n", "").isprintable()


def test_looking_does_not_make_a_queue(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 1
    assert capsys.readouterr().err == f"relay-agent: {tmp_path}/queue: No such file or directory\n"
    assert not (tmp_path / "queue").exists()


async def test_with_an_agent_it_is_asked(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_agent.cli.asking._PATIENCE", 0.3)  # for processes that are just ending
    ours = message("bob@beta.test")
    await put(tmp_path / "queue", ours)
    async with EmbeddedStore(tmp_path / "queue", minimum_free=0) as store:
        # An agent that has the queue and whose socket is not there: say so instead of waiting.
        assert await asyncio.to_thread(run, "list") == 1
        assert "in use by process" in capsys.readouterr().err
        server = ControlServer(tmp_path / "control.sock", queue_handlers([store]))
        await server.start()
        try:
            assert await asyncio.to_thread(run, "list", ours.queue_id) == 0
            assert ours.queue_id in capsys.readouterr().out
            assert await asyncio.to_thread(run, "show", "nothing") == 1
            assert "NOTHING is not in the queue" in capsys.readouterr().err
            assert await asyncio.to_thread(run, "retry", "--all") == 0
            assert capsys.readouterr().out == "1 message (1 recipient) due now\n"
            assert await asyncio.to_thread(run, "delete", ours.queue_id, "--json") == 0
            assert json.loads(capsys.readouterr().out) == {"messages": 1, "unknown": []}
        finally:
            await server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for the queue's owner")
def test_root_leaves_no_files_of_its_own_in_the_queue(config: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        root.chmod(0o755)
        queue = root / "queue"
        asyncio.run(put(queue, message("bob@beta.test")))
        for path in (queue, *queue.rglob("*")):
            os.chown(path, 54321, 54321)
        ours = root / "agent.toml"
        ours.write_text(config.read_text().replace(str(config.parent / "queue"), str(queue)))
        ours.chmod(0o644)
        result = subprocess.run(
            [sys.executable, "-m", "relay_agent", "queue", "retry", "--all", "--config", str(ours)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert (result.returncode, result.stdout) == (0, "1 message (1 recipient) due now\n"), result.stderr
        assert {path.stat().st_uid for path in (queue, *queue.rglob("*"))} == {54321}


@pytest.mark.parametrize(
    ("account", "words"),
    [("", "out of a trusted network"), (None, "This is a bounce that the relay wrote itself")],
)
def test_where_a_message_came_from(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], account: str | None, words: str
) -> None:
    ours = message("bob@beta.test", account=account)
    asyncio.run(put(tmp_path / "queue", ours))
    assert run("show", ours.queue_id) == 0
    assert words in capsys.readouterr().out
