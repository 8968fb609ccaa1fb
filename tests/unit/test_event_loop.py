# SPDX-License-Identifier: GPL-3.0-or-later
"""Which event loop a worker runs on."""

from __future__ import annotations

import asyncio
import sys

import pytest

from relay_agent import event_loop


async def loop_module() -> str:
    return type(asyncio.get_running_loop()).__module__


def test_uvloop_where_it_is_installed() -> None:
    assert event_loop.run(loop_module()).startswith("uvloop")


def test_asyncio_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert event_loop.run(loop_module()).startswith("asyncio")
