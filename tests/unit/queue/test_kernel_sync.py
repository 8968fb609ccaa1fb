# SPDX-License-Identifier: GPL-3.0-or-later
"""Syncing by the kernel's asynchronous I/O, and by a thread where there is none."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_agent.queue import kernel_sync
from relay_agent.queue.kernel_sync import Syncer


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """A file with something to sync."""
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(opened, b"x" * 5000)
    yield opened
    os.close(opened)


@pytest.fixture
def syncer() -> Iterator[Syncer]:
    made = Syncer()
    yield made
    made.close()


def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that does not have these calls."""
    monkeypatch.setattr(platform, "machine", lambda: "vax")


def descriptors() -> int:
    """How many are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def sync(syncer: Syncer, fd: int) -> OSError | None:
    """One sync; what it ended with."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[OSError | None] = loop.create_future()
    syncer.begin(loop, fd, ended.set_result)
    return await asyncio.wait_for(ended, 20)


def by_kernel(syncer: Syncer) -> bool:
    """Whether it has the kernel do it."""
    return syncer._context is not None and syncer._thread is None


@pytest.mark.parametrize("directory", ["disk", "tmpfs"])
async def test_the_kernel_syncs(syncer: Syncer, tmp_path: Path, directory: str) -> None:
    place = tmp_path if directory == "disk" else Path("/dev/shm")
    opened = os.open(place, os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        for _ in range(20):
            os.pwrite(opened, b"y" * 100, 0)
            assert await sync(syncer, opened) is None
    finally:
        os.close(opened)
    assert by_kernel(syncer)


async def test_an_error_is_told(syncer: Syncer, fd: int) -> None:
    assert await sync(syncer, fd) is None
    error = await sync(syncer, 987)
    assert error is not None
    assert error.errno == errno.EBADF
    assert await sync(syncer, fd) is None


async def test_what_cannot_be_synced_is_no_success(syncer: Syncer) -> None:
    """A pipe has no sync: the kernel says so at once, and so does the thread."""
    ends = os.pipe()
    try:
        error = await sync(syncer, ends[1])
    finally:
        for end in ends:
            os.close(end)
    assert error is not None
    assert error.errno == errno.EINVAL


async def test_without_the_calls_a_thread_does_it(syncer: Syncer, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    no_kernel(monkeypatch)
    assert await sync(syncer, fd) is None
    assert not by_kernel(syncer)
    error = await sync(syncer, 987)
    assert error is not None
    assert error.errno == errno.EBADF


@pytest.mark.parametrize("call", ["_setup", "_submit", "_getevents"])
async def test_calls_that_are_forbidden(syncer: Syncer, fd: int, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """As by a sandbox, or aio-max-nr: whichever call it is, the file is synced all the same."""
    place = ["_setup", "_destroy", "_getevents", "_submit"].index(call)
    numbers = list(kernel_sync._NUMBERS[platform.machine()])
    numbers[place] = 100_000
    monkeypatch.setitem(kernel_sync._NUMBERS, platform.machine(), tuple(numbers))
    for _ in range(3):
        assert await sync(syncer, fd) is None
    assert not by_kernel(syncer)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
async def test_a_file_system_that_refuses_late(
    syncer: Syncer, fd: int, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    assert await sync(syncer, fd) is None
    context = syncer._context
    assert context is not None
    result = context.result
    monkeypatch.setattr(context, "result", lambda: None if result() is None else -code)
    assert await sync(syncer, fd) is None
    assert not by_kernel(syncer)
    assert await sync(syncer, fd) is None


async def test_an_io_error_of_the_kernel_is_one(syncer: Syncer, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await sync(syncer, fd) is None
    assert syncer._context is not None
    result = syncer._context.result
    monkeypatch.setattr(syncer._context, "result", lambda: None if result() is None else -errno.EIO)
    error = await sync(syncer, fd)
    assert error is not None
    assert error.errno == errno.EIO
    monkeypatch.undo()
    assert await sync(syncer, fd) is None
    assert by_kernel(syncer)


async def test_no_descriptor_for_the_kernels_answer(syncer: Syncer, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: int) -> int:
        raise OSError(errno.EMFILE, "no descriptors")

    destroyed: list[object] = []
    call = kernel_sync._Context._call

    def noted(self: kernel_sync._Context, number: ctypes.c_long, *rest: object) -> int:
        if number is self._destroy:
            destroyed.append(number)
        return call(self, number, *rest)

    monkeypatch.setattr(os, "eventfd", fail)
    monkeypatch.setattr(kernel_sync._Context, "_call", noted)
    assert await sync(syncer, fd) is None
    assert not by_kernel(syncer)
    assert len(destroyed) == 1


async def test_no_thread_to_be_had(syncer: Syncer, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    no_kernel(monkeypatch)
    monkeypatch.setattr("threading.Thread.start", fail)
    error = await sync(syncer, fd)
    assert error is not None
    assert "thread" in str(error)


async def test_a_fault_in_the_thread_is_no_success(syncer: Syncer, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise MemoryError

    no_kernel(monkeypatch)
    monkeypatch.setattr(os, "fdatasync", fail)
    error = await sync(syncer, fd)
    assert error is not None
    assert error.errno == errno.EIO


@pytest.mark.parametrize("kernel", [True, False])
async def test_closed_while_under_way(fd: int, monkeypatch: pytest.MonkeyPatch, kernel: bool) -> None:
    """Nobody is told, nothing is left: neither a descriptor nor a reader of one."""
    if not kernel:
        no_kernel(monkeypatch)
    before = descriptors()
    told: list[object] = []
    for _ in range(20):
        syncer = Syncer()
        os.pwrite(fd, b"z" * 4096, 0)
        syncer.begin(asyncio.get_running_loop(), fd, told.append)
        syncer.close()
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    assert told == []
    assert descriptors() == before


async def test_a_program_that_is_started_gets_nothing_of_it(syncer: Syncer, fd: int) -> None:
    """The supervisor replaces itself by exec: no descriptor may come along."""
    assert await sync(syncer, fd) is None
    assert syncer._context is not None
    assert not os.get_inheritable(syncer._context.eventfd)


def test_32_bits_have_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(struct, "calcsize", lambda _: 4)
    with pytest.raises(OSError, match="not implemented"):
        kernel_sync._Context()
