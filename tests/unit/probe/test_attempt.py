# SPDX-License-Identifier: GPL-3.0-or-later
"""A try ends in time, whatever the other side does."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from relay_agent.probe import attempt as subject
from relay_agent.probe.attempt import End, Target, attempt


@pytest.fixture
def server() -> Iterator[Callable[[Callable[[socket.socket], None]], Target]]:
    """Starts a server that does this with its connection; gives it as a target."""
    with contextlib.ExitStack() as stack:

        def start(behave: Callable[[socket.socket], None]) -> Target:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve() -> None:
                with contextlib.suppress(OSError), listening.accept()[0] as connection:
                    behave(connection)

            threading.Thread(target=serve, daemon=True).start()
            return Target("relay.test", "ipv4", "127.0.0.1", listening.getsockname()[1], "greeting")

        yield start


def again(piece: bytes, pause: float) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        while True:
            connection.sendall(piece)
            time.sleep(pause)

    return send


def test_a_byte_now_and_then_does_not_hold_it(
    server: Callable[[Callable[[socket.socket], None]], Target],
) -> None:
    begun = time.monotonic()
    found = attempt(server(again(b"2", 0.05)), ssl.create_default_context(), begun + 1.5)
    assert time.monotonic() - begun < 10
    assert found.end is End.NO_GREETING


def test_nor_does_a_web_page_whose_header_has_no_end(
    server: Callable[[Callable[[socket.socket], None]], Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "_GREETING", 0.1)

    def page(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.0 302 Found\r\nLocation: http://login.test/\r\n")
        again(b"X: y\r\n", 0.01)(connection)

    begun = time.monotonic()
    found = attempt(server(page), ssl.create_default_context(), begun + 1.5)
    assert time.monotonic() - begun < 10
    assert (found.end, found.location) == (End.NOT_SMTP, "http://login.test/")
