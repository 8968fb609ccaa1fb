# SPDX-License-Identifier: GPL-3.0-or-later
"""What was acknowledged is there after kill -9, and what was done is not, but for the last moment."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from relay_agent.queue.journaled import JournaledStore
from relay_agent.queue.model import Counts

CHECKOUT = Path(__file__).resolve().parents[3]
ROUNDS = 10
SESSIONS = 16  # of the process


def run_and_kill(directory: Path, seconds: float) -> list[list[str]]:
    """What the process said before it was killed, so many seconds after it opened the store."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.queue.storing_process", str(directory)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first == b"open\n", process.communicate()[1].decode()
    killer = threading.Timer(seconds, process.kill)
    killer.start()
    try:
        rest, errors = process.communicate()
    finally:
        killer.cancel()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    return [line.split() for line in rest.decode().splitlines()]


async def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    stored: dict[str, tuple[int, str]] = {}
    doing: set[str] = set()
    done: list[str] = []
    deferred: set[str] = set()
    for _ in range(ROUNDS):
        for word, queue_id, *rest in await asyncio.to_thread(run_and_kill, tmp_path, random.uniform(0.02, 0.4)):
            match word:
                case "stored":
                    stored[queue_id] = (int(rest[0]), rest[1])
                case "doing":
                    doing.add(queue_id)
                case "done":
                    done.append(queue_id)
                case "deferred":
                    deferred.add(queue_id)
        async with JournaledStore(tmp_path) as store:
            # A write may have been cut in two; nobody was promised anything of it.
            assert all("incomplete" in notice for notice in store.notices)
            present = {message.queue_id: message for message in await store.list(100_000)}
            assert not [queue_id for queue_id in stored if queue_id not in present and queue_id not in doing]
            # Each session's last one: it is written at the end of the turn, and nobody waits for that.
            assert not [queue_id for queue_id in done[:-SESSIONS] if queue_id in present]
            for queue_id, message in present.items():
                content = message.body.read()
                assert len(content) == message.body.size
                assert queue_id in content[:100].decode("latin-1")  # stored, but not yet acknowledged
                if queue_id in stored:
                    assert (len(content), hashlib.sha256(content).hexdigest()) == stored[queue_id]
                if queue_id in deferred:
                    assert message.recipients[0].attempts == 1
            counts = await store.counts()
            assert counts.messages == len(present)
            assert counts.recipients == sum(len(message.recipients) for message in present.values())
            assert counts.bytes == sum(message.body.size for message in present.values())
            assert list(store.spool_directory().iterdir()) == []
            in_files = {path.name for path in (tmp_path / "0" / "bodies").iterdir()}
            assert in_files <= set(present)
            # The next round starts small: reading a growing queue back is not what is tested.
            await store.delete(list(present))
            assert await store.counts() == Counts(0, 0, 0, 0)
        stored.clear()
        doing.clear()
        deferred.clear()
    assert done


@pytest.mark.parametrize("moment", [0.0, 0.005])
async def test_killed_while_opening(tmp_path: Path, moment: float) -> None:
    """Creating the database can be interrupted anywhere and begun again."""
    await asyncio.to_thread(kill_while_opening, tmp_path, moment)
    async with JournaledStore(tmp_path) as store:
        assert store.notices == []
        await store.counts()


def kill_while_opening(tmp_path: Path, moment: float) -> None:
    """Four times, so long after its directory appeared."""
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.queue.storing_process", str(tmp_path)],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            while process.poll() is None and not (tmp_path / "0").exists():
                time.sleep(0.001)
            time.sleep(moment)
            process.kill()
            process.communicate()
