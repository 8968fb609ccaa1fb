# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent's commands say, and what is made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.agent_queue import AgentQueue, AgentQueueError, Waiting


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Where the agent is."""
    path = tmp_path / "relay-agent"
    path.touch()
    return path


def _queue(program: Path, status: int = 0, output: object = None, errors: str = "") -> AgentQueue:
    return AgentQueue(lambda _: (status, json.dumps(output) if output is not None else "", errors), program)


def test_what_waits_in_numbers_and_words(program: Path) -> None:
    said = {"messages": 1200, "recipients": 1, "held": 3, "leaving": 2, "bytes": 9}
    waiting = _queue(program, 0, said).waiting()
    assert waiting == Waiting(1200, 1, 3, 2)
    assert str(waiting) == "1,200 messages for 1 recipient, 3 of these held, and 2 messages being handed over"
    assert not waiting.nothing
    assert not Waiting(leaving=1).nothing
    assert Waiting().nothing


def test_a_release_that_does_not_know_the_command(program: Path) -> None:
    queue = _queue(program, 2, None, "relay-agent queue: error: argument COMMAND: invalid choice: 'count'")
    with pytest.raises(AgentQueueError, match=r"does not know `relay-agent queue count` yet: .*site\.yml"):
        queue.waiting()


def test_no_agent(tmp_path: Path) -> None:
    with pytest.raises(AgentQueueError, match="no agent is installed"):
        _queue(tmp_path / "missing").waiting()


def test_a_failure_is_told_in_the_agent_s_words(program: Path) -> None:
    with pytest.raises(AgentQueueError, match=r"^the disk is full$"):
        _queue(program, 1, None, "relay-agent: the disk is full\n").pack(Path("/x"))


def test_the_commands(program: Path) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], /) -> tuple[int, str, str]:
        asked.append(command[1:])
        return 0, '{"messages": 4}', ""

    queue = AgentQueue(run, program)
    queue.pack(Path("/a"), leave=True)
    queue.unpack(Path("/b"))
    queue.retry()
    assert queue.handed_over(["X", "Y"]) == 4
    assert asked == [
        ["queue", "pack", "--to", "/a", "--leave", "--json"],
        ["queue", "unpack", "/b", "--json"],
        ["queue", "retry", "--all", "--json"],
        ["queue", "handed-over", "X", "Y", "--json"],
    ]
