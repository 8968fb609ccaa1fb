# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTPS client against a real TLS server that behaves as badly as it likes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from relay_agent.delivery.tls import https
from relay_agent.delivery.tls.https import FetchError, HttpsClient, is_public
from tests.integration.authority import Authority, make_authority

Behave = Callable[[socket.socket], None]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


class Server:
    """Takes connections; `behave` talks, over TLS unless `plain`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.behave: Behave = lambda connection: None
        self.plain = False
        self.requests: list[bytes] = []
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(5)
                if self.plain:
                    self.behave(connection)
                    continue
                with self._context.wrap_socket(connection, server_side=True) as tls:
                    self.requests.append(tls.recv(65536))
                    self.behave(tls)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)


@pytest.fixture
def server(authority: Authority) -> Iterator[Server]:
    files = authority.issue("mta-sts.example.org")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    new = Server(context)
    yield new
    new.close()


def _says(text: bytes) -> Behave:
    return lambda connection: connection.sendall(text)


async def _get(server: Server, ca_file: Path | None, host: str = "mta-sts.example.org") -> https.Answer:
    client = HttpsClient(ca_file, server.port)
    try:
        return await client.request(host, ("127.0.0.1",), "/x", most=1000)
    finally:
        client.close()


async def test_an_answer(server: Server, authority: Authority) -> None:
    server.behave = _says(b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=utf-8\r\nContent-Length: 2\r\n\r\nhi")
    answer = await _get(server, authority.file)
    assert (answer.status, answer.media, answer.content) == (200, "text/plain", b"hi")
    assert server.requests[0].startswith(b"GET /x HTTP/1.1\r\nHost: mta-sts.example.org:")


async def test_an_answer_that_ends_with_the_connection(server: Server, authority: Authority) -> None:
    server.behave = _says(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhi")
    assert (await _get(server, authority.file)).content == b"hi"


@pytest.mark.parametrize("status", [301, 302, 308])
async def test_no_redirect_is_followed(server: Server, authority: Authority, status: int) -> None:
    server.behave = _says(
        b"HTTP/1.1 %d M\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n" % status
    )
    answer = await _get(server, authority.file)
    assert answer.status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, "more than 1000 bytes"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"190\r\n"
            + b"x" * 400
            + b"\r\n"
            + b"300\r\n"
            + b"x" * 768
            + b"\r\n0\r\n\r\n",
            "more than 1000 bytes",
        ),
        (b"220 mx.example ESMTP\r\n", "220 mx.example"),
        (b"", "without response"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "headers"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, "header line"),
    ],
)
async def test_answers_that_are_none(server: Server, authority: Authority, text: bytes, words: str) -> None:
    server.behave = _says(text)
    with pytest.raises(FetchError, match=words):
        await _get(server, authority.file)


async def test_the_certificate_counts(server: Server, authority: Authority, tmp_path: Path) -> None:
    for ca_file, host in ((None, "mta-sts.example.org"), (authority.file, "mta-sts.example.net")):
        with pytest.raises(FetchError, match="not accepted") as caught:
            await _get(server, ca_file, host)
        assert caught.value.certificate
    with pytest.raises(FetchError, match="missing cannot be used"):
        await _get(server, tmp_path / "missing")


def _drip(connection: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection.sendall(b"H")
            time.sleep(0.02)


def _listen(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


@pytest.mark.parametrize("plain", [False, True])
async def test_who_drips_is_cut_off(
    server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    """In the answer, or in the middle of the handshake; and the thread is free again."""
    monkeypatch.setattr(https, "_LONGEST", 0.3)
    server.plain = plain
    server.behave = _listen if plain else _drip
    client = HttpsClient(authority.file, server.port)
    started = time.monotonic()
    with pytest.raises(FetchError, match="takes too long"):
        await client.request("mta-sts.example.org", ("127.0.0.1",), "/", most=1000)
    await asyncio.to_thread(client._threads.shutdown)
    assert time.monotonic() - started < https._SILENCE


async def test_which_addresses_are_spoken_to(server: Server, authority: Authority) -> None:
    client = HttpsClient(authority.file, server.port, is_public)
    with pytest.raises(FetchError, match="no address that may be spoken to"):
        await client.request("mta-sts.example.org", ("127.0.0.1", "::1"), "/", most=10)
    client.close()
    assert server.requests == []


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2600::1", True),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_is_public(address: str, expected: bool) -> None:
    assert is_public(address) is expected


async def test_nobody_there(authority: Authority) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = HttpsClient(authority.file, unused.getsockname()[1])
        with pytest.raises(FetchError, match="Connection refused"):
            await client.request("mta-sts.example.org", ("127.0.0.1",), "/", most=10)
    client.close()
