# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports that tests give to their servers."""

from __future__ import annotations

import functools
import socket
from pathlib import Path

import pytest

from tests import ports
from tests.ports import free_port


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other candidates than those of the tests after this one, which begin where the last one ended."""
    monkeypatch.setattr(ports, "_candidates", functools.cache(ports._candidates.__wrapped__))


@pytest.mark.usefixtures("fresh")
def test_none_is_given_twice_and_none_that_an_outgoing_connection_may_get(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usual = tmp_path / "range"
    usual.write_text("32768\t60999\n")
    monkeypatch.setattr(ports, "_EPHEMERAL", usual)
    found = [free_port() for _ in range(200)]
    assert len(set(found)) == 200
    assert not [port for port in found if 32_768 <= port <= 60_999]


@pytest.mark.parametrize(
    ("kind", "address"),
    [(socket.SOCK_STREAM, "127.0.2.9"), (socket.SOCK_DGRAM, "127.0.0.1"), (socket.SOCK_STREAM, "::1")],
)
def test_one_that_is_taken_on_any_address_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, kind: socket.SocketKind, address: str
) -> None:
    if ":" in address and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    used, free = free_port(), free_port()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as taken:
        taken.bind((address, used))
        monkeypatch.setattr(ports, "_candidates", lambda: iter((used, free)))
        assert free_port() == free


@pytest.mark.usefixtures("fresh")
def test_of_a_kernel_that_gives_nearly_all_ports_one_of_its_own_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    narrow = tmp_path / "range"
    narrow.write_text("10500\t65535\n")
    monkeypatch.setattr(ports, "_EPHEMERAL", narrow)
    found = [free_port() for _ in range(200)]
    assert len(set(found)) == 200


@pytest.mark.usefixtures("fresh")
def test_those_above_the_kernel_s_do_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    high = tmp_path / "range"
    high.write_text("1024\t60999\n")
    monkeypatch.setattr(ports, "_EPHEMERAL", high)
    assert free_port() >= 61_000


def test_it_does_not_search_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_unused", lambda port: False)
    with pytest.raises(OSError, match="servers of earlier runs"):
        free_port()
