# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies and the spool."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.queue.body import FileBody, MemoryBody, Spool
from relay_agent.queue.model import QueueFullError


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 100])
def test_memory_body_comes_in_blocks(size: int) -> None:
    content = os.urandom(size)
    body = MemoryBody(content)
    assert body.size == size
    assert body.read() == content
    blocks = list(body.blocks(10))
    assert b"".join(blocks) == content
    assert all(0 < len(block) <= 10 for block in blocks)


def test_small_content_stays_in_memory(tmp_path: Path) -> None:
    with Spool(tmp_path, threshold=100) as spool:
        spool.write(b"a" * 50)
        spool.write(memoryview(b"b" * 50))
        assert not spool.in_file
        body = spool.finish(b"H\r\n", skip=49)
    assert isinstance(body, MemoryBody)
    assert body.read() == b"H\r\na" + b"b" * 50
    assert list(tmp_path.iterdir()) == []


def test_large_content_goes_to_a_file_in_blocks(tmp_path: Path) -> None:
    spool = Spool(tmp_path, threshold=1000, block=500)
    expected = b""
    for number in range(40):
        block = bytes([number]) * 123
        expected += block
        spool.write(bytearray(block))
        assert spool._held <= 1000
    assert spool.in_file
    assert spool.head(300) == expected[:300]
    assert spool.head(10**6) == expected
    body = spool.finish(b"Received: x\r\n", skip=7)
    assert isinstance(body, FileBody)
    assert body.read() == b"Received: x\r\n" + expected[7:]
    assert body.size == len(body.read())
    assert all(0 < len(block) <= 64 for block in body.blocks(64))
    assert body.intact()
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]
    spool.discard()  # harmless: the file is the body's now
    assert body.intact()
    body.discard()
    assert not body.intact()
    with pytest.raises(FileNotFoundError):
        body.read()


def test_a_file_cut_short_is_an_error_not_a_short_message(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    body = FileBody(path, 11, prefix=b"ab", offset=1)
    assert body.read() == b"ab123456789"
    path.write_bytes(b"01234")
    assert not body.intact()
    with pytest.raises(OSError, match="ends 5 bytes early"):
        body.read()


def test_an_unfinished_spool_leaves_nothing(tmp_path: Path) -> None:
    with Spool(tmp_path, threshold=10) as spool:
        spool.write(b"x" * 1000)
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_skip_beyond_what_arrived(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.write(b"abc")
        with pytest.raises(ValueError, match="cannot skip 4 of 3"):
            spool.finish(skip=4)


def test_a_disk_that_refuses_is_a_full_queue(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the full disk: the write itself fails, after part of it was taken."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    spool = Spool(tmp_path, threshold=1000, block=1000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        for _ in range(4):
            spool.write(b"x" * 999)
        with pytest.raises(QueueFullError):
            spool.write(b"x" * 4000)
        with pytest.raises(QueueFullError):
            spool.write(b"y")
        with pytest.raises(QueueFullError):
            spool.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_room_kept_free_on_the_disk(tmp_path: Path) -> None:
    with Spool(tmp_path, threshold=10, minimum_free=1 << 60) as spool:
        spool.write(b"small")
        with pytest.raises(QueueFullError):
            spool.write(b"too much for memory")
    assert list(tmp_path.iterdir()) == []


@given(
    blocks=st.lists(st.binary(max_size=40), max_size=20),
    prefix=st.binary(max_size=20),
    threshold=st.integers(0, 100),
    block=st.integers(1, 60),
    data=st.data(),
)
def test_content_is_never_changed(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[bytes],
    prefix: bytes,
    threshold: int,
    block: int,
    data: st.DataObject,
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    whole = b"".join(blocks)
    skip = data.draw(st.integers(0, len(whole)))
    spool = Spool(directory, threshold=threshold, block=block)
    for part in blocks:
        spool.write(part)
    assert spool.head(17) == whole[:17]
    body = spool.finish(prefix, skip=skip)
    assert body.read() == prefix + whole[skip:]
    assert body.size == len(prefix) + len(whole) - skip
    assert b"".join(body.blocks(7)) == body.read()
    body.discard()
    assert list(directory.iterdir()) == []
