# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking connections from a socket that several workers share."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from relay_agent.submission import acceptor as module
from relay_agent.submission.acceptor import Acceptor


class Taken:
    """What was taken, and programs that connect."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.address = self.listening.getsockname()
        self.connections: list[socket.socket] = []
        self.peers: list[Any] = []
        self.programs: list[socket.socket] = []

    def __call__(self, connection: socket.socket, peer: Any) -> None:
        self.connections.append(connection)
        self.peers.append(peer)

    def connect(self, count: int = 1) -> None:
        self.programs += [socket.create_connection(self.address) for _ in range(count)]

    async def reach(self, count: int) -> None:
        for _ in range(500):
            if len(self.connections) >= count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{len(self.connections)} connections")


@pytest.fixture
def taken() -> Iterator[Taken]:
    made = Taken()
    yield made
    for each in (made.listening, *made.connections, *made.programs):
        each.close()


async def test_connections_are_taken_until_the_end(taken: Taken) -> None:
    acceptor = Acceptor(asyncio.get_running_loop(), taken.listening, taken)
    taken.connect(1)
    await asyncio.sleep(0.02)
    assert taken.connections == []  # not begun
    acceptor.start()
    taken.connect(9)
    await taken.reach(10)
    assert sorted(taken.peers) == sorted(each.getsockname() for each in taken.programs)
    assert not any(each.getblocking() for each in taken.connections)
    assert all(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for each in taken.connections)
    acceptor.stop()
    with pytest.raises(ConnectionRefusedError):
        taken.connect()


async def test_a_patient_worker_lets_another_one_go_first(taken: Taken) -> None:
    loop = asyncio.get_running_loop()
    others = Taken()
    other = Acceptor(loop, taken.listening.dup(), others)
    patient = Acceptor(loop, taken.listening, taken, lambda: True)
    patient.start()
    other.start()
    taken.connect(4)
    await others.reach(4)
    assert taken.connections == []
    other.stop()
    taken.connect(4)  # nobody else is there
    await taken.reach(4)
    patient.stop()
    for each in (others.listening, *others.connections):
        each.close()


async def test_stopped_while_it_is_patient(taken: Taken) -> None:
    acceptor = Acceptor(asyncio.get_running_loop(), taken.listening, taken, lambda: True)
    acceptor.start()
    taken.connect()
    acceptor._ready()
    acceptor.stop()
    await asyncio.sleep(0.02)
    assert taken.connections == []


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM, errno.EPROTO])
async def test_connections_wait_when_they_cannot_be_taken(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.02)
    accept = taken.listening.accept
    tried = 0

    class Listening(socket.socket):
        def accept(self) -> Any:
            nonlocal tried
            tried += 1
            if tried <= 5:
                raise OSError(code, "not now")
            return accept()

    listening = Listening(fileno=taken.listening.detach())
    accept = super(Listening, listening).accept
    acceptor = Acceptor(asyncio.get_running_loop(), listening, taken)
    acceptor.start()
    taken.connect()
    await taken.reach(1)
    assert 6 <= tried < 20  # no busy loop
    assert caplog.text.count("connections wait") == 1
    acceptor.stop()


async def test_who_takes_may_stop_it(taken: Taken) -> None:
    def take(connection: socket.socket, peer: Any) -> None:
        taken(connection, peer)
        acceptor.stop()

    acceptor = Acceptor(asyncio.get_running_loop(), taken.listening, take)
    acceptor.start()
    taken.connect(3)
    await taken.reach(1)
    await asyncio.sleep(0.05)
    assert len(taken.connections) == 1
