# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that move a queue, on a queue that no agent has open."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from relay_agent.cli.main import main
from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.lock import QueueLock
from relay_agent.queue.older import schema_of
from tests.unit.queue.messages import message


@pytest.fixture
def queue(config: Path) -> Path:
    """The queue of the configuration, with two messages, one of them held."""
    import tomllib

    directory = Path(tomllib.loads(config.read_text())["queue"]["directory"])

    async def fill() -> None:
        async with JournaledStore(directory) as store:
            for each in (message(), message()):
                await store.store(each)
            await store.hold([each.queue_id])

    asyncio.run(fill())
    return directory


def _said(capsys: pytest.CaptureFixture[str], config: Path, *arguments: str) -> dict[str, Any]:
    assert main(["queue", *arguments, "--json", "--config", str(config)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_queue_leaves_comes_back_and_is_forgotten(
    config: Path, queue: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    parcel = tmp_path / "parcel"
    assert _said(capsys, config, "count") == {"messages": 2, "recipients": 2, "held": 1, "leaving": 0}
    packed = _said(capsys, config, "pack", "--leave", "--to", str(parcel))
    assert (packed["messages"], len(packed["entries"])) == (2, 1)
    assert parcel.stat().st_mode & 0o777 == 0o600
    assert _said(capsys, config, "count") == {"messages": 0, "recipients": 0, "held": 0, "leaving": 2}
    assert _said(capsys, config, "unpack", str(parcel))["messages"] == 2
    assert _said(capsys, config, "unpack", str(parcel))["before"] == packed["entries"]
    assert _said(capsys, config, "handed-over", *packed["entries"]) == {"messages": 2}
    assert _said(capsys, config, "count") == {"messages": 2, "recipients": 2, "held": 1, "leaving": 0}


def test_in_words(config: Path, queue: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    parcel = tmp_path / "parcel"
    option = ["--config", str(config)]
    assert main(["queue", "count", *option]) == 0
    assert capsys.readouterr().out == "2 messages for 2 recipients, 1 held\n"
    assert main(["queue", "pack", "--to", str(parcel), *option]) == 0
    assert capsys.readouterr().out == f"2 messages written to {parcel}\n"
    assert main(["queue", "unpack", str(parcel), *option]) == 0
    assert "2 messages left out: they wait in this queue already" in capsys.readouterr().out


def test_downgrade(config: Path, queue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _said(capsys, config, "downgrade", "--schema", "1") == {"stores": [0], "schema": 1}
    assert schema_of(queue / "0/queue.db") == 1
    assert main(["queue", "downgrade", "--schema", "0", "--config", str(config)]) == 1
    assert "schema 0 cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["downgrade", "--schema", "1"], ["pack", "--leave", "--to", "parcel"]])
def test_not_while_an_agent_has_the_queue(
    config: Path,
    queue: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    lock = QueueLock(queue)
    assert main(["queue", *command, "--config", str(config)]) == 1
    lock.close()
    assert "stop relay-agent.socket and relay-agent.service first" in capsys.readouterr().err
    assert (queue / "0").is_dir()


def test_another_file_is_no_parcel(
    config: Path, queue: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"something else\n" * 100)
    assert main(["queue", "unpack", str(other), "--config", str(config)]) == 1
    assert "not a parcel of mail" in capsys.readouterr().err
