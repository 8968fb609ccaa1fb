# SPDX-License-Identifier: GPL-3.0-or-later
"""Systemd is asked for more time while a store is repaired, and only then."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from relay_agent.supervisor import patience


async def test_more_time_for_as_long_as_a_store_is_repaired(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(patience, "_EVERY", 0.01)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    queue = tmp_path / "queue"
    (queue / "1").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        task = asyncio.create_task(patience.hold_off(queue))
        await asyncio.sleep(0.1)
        systemd.setblocking(False)
        with pytest.raises(BlockingIOError):
            systemd.recv(1000)
        (queue / "1" / "repair.json").write_bytes(b"{}")
        systemd.settimeout(5.0)
        for _ in range(3):  # read at once: the kernel keeps ten
            said = await asyncio.to_thread(systemd.recv, 1000)
            assert said.startswith(b"EXTEND_TIMEOUT_USEC=60000000\nSTATUS=Saving")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_queue_that_is_not_there_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(patience, "_EVERY", 0.01)
    task = asyncio.create_task(patience.hold_off(tmp_path / "none"))
    await asyncio.sleep(0.05)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
