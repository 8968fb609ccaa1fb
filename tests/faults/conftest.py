# SPDX-License-Identifier: GPL-3.0-or-later
"""Real agents on loopback and what is done to them. POSTROAD_FAULTS=long (`make faults`) makes the long form."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agent.conftest import PLAIN, Agent, Sink, agent, running, sink, wait_for

from .load import Load

__all__ = ["PLAIN", "Agent", "Sink", "agent", "running", "sink", "wait_for"]

LONG = os.environ.get("POSTROAD_FAULTS") == "long"


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a figure past pytest's capture: the run's output is what docs/reliability.md quotes."""

    def print_through(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n  {line}\n")

    return print_through


@pytest.fixture
def load(agent: Agent) -> Iterator[Load]:
    """Mail programs that submit through the agent's plain port until they are told to stop."""
    load = Load(agent.starttls)
    yield load
    load.stop()


def status(agent: Agent) -> dict[str, Any]:
    """`relay-agent status --json`; {} when the agent cannot answer now."""
    done = agent.command("status", "--config", str(agent.config), "--json")
    answer: dict[str, Any] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    return answer if answer.get("running") else {}


def wait_until_empty(agent: Agent, seconds: float = 60.0) -> None:
    """Until the queue has nothing left."""
    wait_for(lambda: status(agent).get("queue", {}).get("messages") == 0, seconds, "an empty queue")


def workers(agent: Agent) -> list[int]:
    """The pids of the agent's children."""
    assert agent.process is not None
    children = Path(f"/proc/{agent.process.pid}/task/{agent.process.pid}/children")
    try:
        return [int(pid) for pid in children.read_text().split()]
    except FileNotFoundError:
        return []
