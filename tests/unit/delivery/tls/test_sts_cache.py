# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relay_agent.delivery.tls.mta_sts import Policy
from relay_agent.delivery.tls.policy import Mode
from relay_agent.delivery.tls.sts_cache import CachedPolicy, StsCache

_POLICY = CachedPolicy("1", Policy(Mode.ENFORCE, 100, ("mx.example.org",)), 1000.0)


def test_kept_and_read_again(tmp_path: Path) -> None:
    cache = StsCache(tmp_path / "mta-sts")
    assert cache.read("example.org") is None
    assert list(cache.domains()) == []
    cache.write("example.org", _POLICY)
    assert StsCache(tmp_path / "mta-sts").read("example.org") == _POLICY
    assert _POLICY.expires == 1100.0
    assert list(cache.domains()) == ["example.org"]
    assert (tmp_path / "mta-sts").stat().st_mode & 0o777 == 0o700
    cache.remove("example.org")
    cache.remove("example.org")
    assert cache.read("example.org") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff", json.dumps({"id": "1", "policy": 5}).encode()])
def test_a_damaged_file_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "example.org").write_bytes(content)
    assert StsCache(tmp_path).read("example.org") is None


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    cache = StsCache(tmp_path)
    (tmp_path / "example.org").mkdir()
    (tmp_path / "example.org" / "full").touch()
    with pytest.raises(OSError, match="directory"):
        cache.write("example.org", _POLICY)
    assert [path.name for path in tmp_path.iterdir()] == ["example.org"]
