# SPDX-License-Identifier: GPL-3.0-or-later
"""Handshakes with ports that show this certificate or that."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_agent.certificates.chain import new_key, read_leaf
from relay_agent.certificates.handshake import Port, prove, shown, tls_ports
from relay_agent.config.schema import Listener
from tests.unit.certificates.authority import chain_for


@pytest.fixture
def fingerprint(tmp_path: Path) -> str:
    key = new_key()
    chain = chain_for(key, "relay.example.org")
    (tmp_path / "key").write_text(key)
    (tmp_path / "chain").write_text(chain)
    return read_leaf(chain).fingerprint


@pytest.fixture(params=[True, False], ids=["implicit", "starttls"])
def port(request: pytest.FixtureRequest, fingerprint: str, tmp_path: Path) -> Iterator[Port]:
    """A port that shows the certificate, once for each connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                if not request.param:
                    connection.sendall(b"220 here\r\n")
                    connection.recv(100)
                    connection.sendall(b"250-here\r\n250 STARTTLS\r\n")
                    connection.recv(100)
                    connection.sendall(b"220 go on\r\n")
                try:
                    with context.wrap_socket(connection, server_side=True) as secured:
                        while secured.recv(100):
                            secured.sendall(b"221 bye\r\n")
                except OSError:
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield Port("127.0.0.1", listening.getsockname()[1], request.param)
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def test_the_certificate_is_seen(port: Port, fingerprint: str) -> None:
    assert shown(port) == fingerprint
    assert prove([port], fingerprint, within=5) == ""


def test_another_one(port: Port) -> None:
    said = prove([port], "00" * 32, within=0)
    assert said.startswith(f"port {port.port} shows another certificate")


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    assert prove([Port("127.0.0.1", number, True)], "", within=0).startswith(f"port {number} has no handshake")


def test_the_old_workers_answer_for_a_while() -> None:
    answers = iter(["old", "old", "new"])
    assert prove([Port("", 465, True)], "new", within=5, look=lambda _: next(answers)) == ""


def test_ports_that_can_be_looked_at() -> None:
    listeners = [
        Listener(port=587, tls="starttls"),
        Listener(address="192.0.2.1", port=465, tls="implicit"),
        Listener(port=2465, tls="auto"),
        Listener(port=8025, tls="none", auth="none"),
        Listener(port=8465, tls="implicit", proxy_from=("192.0.2.0/24",)),
    ]
    assert tls_ports(listeners) == [
        Port("127.0.0.1", 587, False),
        Port("192.0.2.1", 465, True),
        Port("127.0.0.1", 2465, True),
    ]
