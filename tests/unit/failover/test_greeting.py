# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a relay greets, at real sockets: TLS and SMTP, and what only looks like it."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from relay_agent.certificates.chain import new_key
from relay_agent.failover import greeting
from relay_agent.failover.greeting import answers, greets, reached
from relay_agent.failover.settings import FailoverSettings, Witness
from tests.unit.certificates.authority import chain_for

HOST = "127.0.0.1"
Talk = Callable[[socket.socket], None]


@pytest.fixture
def secured(tmp_path: Path) -> ssl.SSLContext:
    key = new_key()
    pair = tmp_path / "pair.pem"
    pair.write_text(key + chain_for(key, "mail.example.org"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    return context


@contextmanager
def listening(talk: Talk) -> Iterator[int]:
    """A server that talks to each client; its port."""
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    connection.settimeout(3)
                    talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def smtp(connection: socket.socket, *, starttls: ssl.SSLContext | None = None, banner: str = "220 hello") -> None:
    connection.sendall(f"{banner}\r\n".encode())
    while line := connection.recv(1000).decode("latin-1"):
        word = line[:8].strip().upper()
        if word == "STARTTLS" and starttls is not None:
            connection.sendall(b"220 go on\r\n")
            with starttls.wrap_socket(connection, server_side=True) as wrapped:
                smtp_commands(wrapped)
            return
        reply(connection, word, b"250-me\r\n250 STARTTLS\r\n" if starttls is not None else b"250 me\r\n")


def smtp_commands(connection: socket.socket) -> None:
    while line := connection.recv(1000).decode():
        reply(connection, line[:8].strip().upper(), b"250 me\r\n")


def reply(connection: socket.socket, word: str, ehlo: bytes) -> None:
    connection.sendall({"EHLO": ehlo, "QUIT": b"221 bye\r\n"}.get(word[:4], b"500 what\r\n"))


def at(settings: FailoverSettings, port: int, **more: object) -> FailoverSettings:
    return settings.model_copy(update={"port": port, "timeout": 2.0, **more})


def test_tls_from_the_first_byte(settings: FailoverSettings, secured: ssl.SSLContext) -> None:
    """Whoever the certificate is from."""

    def talk(connection: socket.socket) -> None:
        with secured.wrap_socket(connection, server_side=True) as wrapped:
            smtp(wrapped)

    with listening(talk) as port:
        assert greets(at(settings, port), HOST)


def test_starttls(settings: FailoverSettings, secured: ssl.SSLContext) -> None:
    with listening(lambda connection: smtp(connection, starttls=secured)) as port:
        assert greets(at(settings, port, security="starttls"), HOST)


def test_smtp_without_tls_is_no_greeting(settings: FailoverSettings) -> None:
    with listening(smtp) as port:
        assert not greets(at(settings, port, security="starttls"), HOST)
        assert not greets(at(settings, port), HOST)


def test_tls_without_smtp_is_none_either(settings: FailoverSettings, secured: ssl.SSLContext) -> None:
    """A web server that has taken the port, or an agent that hangs."""

    def talk(connection: socket.socket) -> None:
        with secured.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(1000)

    with listening(talk) as port:
        assert not greets(at(settings, port), HOST)


def test_a_relay_that_is_busy_lives(settings: FailoverSettings, secured: ssl.SSLContext) -> None:
    def talk(connection: socket.socket) -> None:
        with secured.wrap_socket(connection, server_side=True) as wrapped:
            smtp(wrapped, banner="421 too many of you")

    with listening(talk) as port:
        assert greets(at(settings, port), HOST)


def test_silence_ends_in_time(settings: FailoverSettings) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1)

    begun = time.monotonic()
    with listening(talk) as port:
        assert not greets(at(settings, port, timeout=1.0, security="starttls"), HOST)
    assert time.monotonic() - begun < 4


def test_nobody_listens(settings: FailoverSettings) -> None:
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    assert not greets(at(settings, port), HOST)


def test_own_addresses_count_by_the_loopback_too(settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeting, "greets", lambda _, address: address in ("127.0.0.1", "192.0.2.2"))
    assert answers(settings) == {
        "192.0.2.1": True,
        "2001:db8::1": False,
        "192.0.2.2": True,
        "2001:db8::2": False,
    }


def witnesses(settings: FailoverSettings, *places: tuple[str, int]) -> FailoverSettings:
    chosen = tuple(Witness(host=host, port=port) for host, port in places)
    return settings.model_copy(update={"witness": chosen, "timeout": 1.0})


def test_witnesses_by_each_family(settings: FailoverSettings) -> None:
    with socket.create_server((HOST, 0)) as free:
        closed = free.getsockname()[1]
    with socket.create_server((HOST, 0)) as one, socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        four, six = one.getsockname()[1], other.getsockname()[1]
        assert reached(witnesses(settings, (HOST, closed), (HOST, four))) == {"A": True, "AAAA": False}
        assert reached(witnesses(settings, (HOST, closed), ("::1", six))) == {"A": False, "AAAA": True}
    assert reached(witnesses(settings, (HOST, closed))) == {"A": False, "AAAA": False}


def test_without_witnesses_it_is_the_name_server(settings: FailoverSettings) -> None:
    assert reached(settings) == {"A": True, "AAAA": False}
