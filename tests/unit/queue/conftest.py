# SPDX-License-Identifier: GPL-3.0-or-later
"""A store for the queue's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from relay_agent.queue.embedded import EmbeddedStore


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    async with EmbeddedStore(tmp_path) as opened:
        yield opened
