# SPDX-License-Identifier: GPL-3.0-or-later
"""When delivery holds back for mail that comes in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_agent.delivery import pressure as module
from relay_agent.delivery.pressure import Pressure


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK", 0.01)
    monkeypatch.setattr(module, "_QUIET", 5)


@pytest.fixture
def pressure() -> Iterator[Pressure]:
    made = Pressure()
    yield made
    made.stop()


def descriptors() -> int:
    """How many are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def figures(monkeypatch: pytest.MonkeyPatch, path: Path, text: str) -> None:
    """What the kernel says."""
    path.write_text(text)
    monkeypatch.setattr(module, "_SCHEDSTAT", str(path))


async def accept_for(pressure: Pressure, seconds: float, *, busy: bool, until_high: bool = False) -> None:
    """Take mail, either with all the time there is or with next to none. until_high: no longer than to the pressure."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (until_high and pressure.high):
        pressure.accepted()
        if busy:
            until = time.monotonic() + 0.02
            while time.monotonic() < until:
                pass
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(0.005)


async def ends(pressure: Pressure) -> bool:
    """Whether there is no pressure any more within 20 seconds: on a busy machine the looks at it are few."""
    for _ in range(2000):
        if not pressure.high:
            break
        await asyncio.sleep(0.01)
    return not pressure.high


async def test_a_thread_that_has_no_time_left_holds_delivery_back(pressure: Pressure) -> None:
    assert not pressure.high
    await accept_for(pressure, 20, busy=True, until_high=True)
    assert pressure.high
    assert await ends(pressure)


async def test_mail_that_comes_now_and_then_does_not(pressure: Pressure) -> None:
    for _ in range(50):
        await accept_for(pressure, 0.3, busy=False)
        if not pressure.high:  # a thread that waits for a processor of a busy machine is one that has no time
            break
    assert not pressure.high


async def test_nobody_looks_when_nothing_comes(pressure: Pressure) -> None:
    pressure.accepted()
    assert pressure._timer is not None
    for _ in range(2000):
        if pressure._timer is None:
            break
        await asyncio.sleep(0.01)
    assert pressure._timer is None
    pressure.accepted()
    assert pressure._timer is not None


@pytest.mark.parametrize("text", ["0 0 0\n", "", "nonsense\n", "1\n"])
async def test_a_kernel_without_these_figures(
    pressure: Pressure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    """Timers that are late tell it then."""
    figures(monkeypatch, tmp_path / "schedstat", text)
    await accept_for(pressure, 20, busy=True, until_high=True)
    assert pressure.high
    await accept_for(pressure, 0.01, busy=False)
    assert await ends(pressure)


async def test_figures_that_end(pressure: Pressure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Delivery is not held back for good by a reading that fails."""
    figures(monkeypatch, tmp_path / "schedstat", "1000 0 1\n")
    await accept_for(pressure, 0.05, busy=True)
    (tmp_path / "schedstat").write_text("")
    await accept_for(pressure, 0.05, busy=True)
    assert await ends(pressure)


async def test_it_leaves_no_descriptor() -> None:
    before = descriptors()
    pressure = Pressure()
    pressure.stop()
    pressure.accepted()
    pressure.stop()
    pressure.stop()
    assert descriptors() == before
    assert not pressure.high
