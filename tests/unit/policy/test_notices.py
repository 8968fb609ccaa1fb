# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent says of a wrong password, and to whom."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_agent.policy.notices import tell_wrong_password
from relay_agent.shut_out.ledger import Notice, parse_notice


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notices"))
        channel.setblocking(False)
        yield channel


def test_the_service_understands_it(tmp_path: Path, listener: socket.socket) -> None:
    assert tell_wrong_password(str(tmp_path / "notices"), "198.51.100.7", "alice", 900.4)
    parsed = parse_notice(listener.recv(2048))
    assert isinstance(parsed, Notice)
    assert (str(parsed.peer), parsed.shut_out) == ("198.51.100.7", 900)
    tell_wrong_password(str(tmp_path / "notices"), "198.51.100.7", "bob", 0.0)
    other = parse_notice(listener.recv(2048))
    assert isinstance(other, Notice)
    assert other.account != parsed.account


@pytest.mark.parametrize("name", ["alice\n}", "\udcff" * 300, "x" * 100_000, ""])
def test_no_name_travels(tmp_path: Path, listener: socket.socket, name: str) -> None:
    assert tell_wrong_password(str(tmp_path / "notices"), "198.51.100.7", name, 0.0)
    datagram = listener.recv(2048)
    parse_notice(datagram)
    assert json.loads(datagram)["account"].isalnum()


def test_nobody_there_is_no_error(tmp_path: Path) -> None:
    assert not tell_wrong_password(str(tmp_path / "nobody"), "198.51.100.7", "alice", 0.0)
    assert not tell_wrong_password("", "198.51.100.7", "alice", 0.0)


def test_a_service_that_does_not_read_holds_nothing_up(tmp_path: Path, listener: socket.socket) -> None:
    path = str(tmp_path / "notices")
    taken = [tell_wrong_password(path, "198.51.100.7", "alice", 0.0) for _ in range(2000)]
    assert taken[0]
    assert not taken[-1]
