# SPDX-License-Identifier: GPL-3.0-or-later
"""A store for the queue's tests: the database alone, and with the journal in front of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.journaled import JournaledStore
from tests.unit.queue.messages import Kind, Opened


@pytest.fixture(params=[EmbeddedStore, JournaledStore])
def kind(request: pytest.FixtureRequest) -> Kind:
    """What opens a store; for what holds for both."""
    found: Kind = request.param
    return found


@pytest_asyncio.fixture
async def store(tmp_path: Path, kind: Kind) -> AsyncIterator[Opened]:
    """An open store of either kind."""
    async with kind(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    """An open database without a journal."""
    async with EmbeddedStore(tmp_path) as opened:
        yield opened


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where hundreds of starts take seconds: nothing is synced to a real disk, and no log is made in advance."""
    monkeypatch.setattr("relay_agent.queue.embedded.LOG_SIZE", 0)
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="postroad-", dir=memory) as directory:
        yield Path(directory)
