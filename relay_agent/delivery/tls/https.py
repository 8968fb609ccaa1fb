# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTPS client for hosts that strangers name: one request, checked certificate, no redirect, all limited.

Python's http.client in threads of its own, so that slow hosts hold up neither the event loop nor the threads that
read the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from relay_agent.delivery.reply import printable

__all__ = ["Answer", "FetchError", "HttpsClient", "is_public"]

_THREADS = 4
_SILENCE = 10.0  # seconds without a byte
_LONGEST = 30.0  # seconds for all of it
_MOST_ADDRESSES = 2


class FetchError(Exception):
    """No answer; the text says why. certificate: the host's certificate is at fault."""

    def __init__(self, text: str, *, certificate: bool = False) -> None:
        super().__init__(text)
        self.certificate = certificate


@dataclass(slots=True, frozen=True)
class Answer:
    """status: HTTP's. media: the type in lower case, without parameters."""

    status: int
    media: str
    content: bytes


def is_public(address: str) -> bool:
    """Whether an address is one of the internet's, not of this host or a network inside."""
    return ip_address(address).is_global


class _Connection(http.client.HTTPSConnection):
    """Goes to an address that was looked up before, and can be cut from outside."""

    def __init__(self, host: str, address: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=_SILENCE, context=context)
        self._address = address
        self._tls = context
        self._raw: socket.socket | None = None
        self._cut = False

    def connect(self) -> None:
        self._raw = socket.create_connection((self._address, self.port), _SILENCE)
        if self._cut:
            self._raw.close()
            raise TimeoutError
        # Not in one step with the handshake, which could not be cut then.
        self._raw = self.sock = self._tls.wrap_socket(
            self._raw, server_hostname=self.host, do_handshake_on_connect=False
        )
        self.sock.do_handshake()

    def end(self) -> None:
        """Close, also where a broken answer left a reader of the socket behind."""
        self.close()
        if self._raw is not None and self._raw.fileno() >= 0:
            os.close(self._raw.detach())

    def cut(self) -> None:
        """End it, whatever a thread is waiting for."""
        self._cut = True
        if self._raw is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._raw, socket.SHUT_RDWR)  # TLS's own would take its state from the thread


@dataclass(slots=True)
class HttpsClient:
    """ca_file: authorities that certificates are checked with, instead of the system's. allowed: which addresses may
    be spoken to at all. port: 443 but in tests.
    """

    ca_file: Path | None = None
    port: int = 443
    allowed: Callable[[str], bool] = lambda address: True
    _context: ssl.SSLContext | None = field(default=None, repr=False)
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_THREADS, thread_name_prefix="https"), repr=False
    )

    async def request(
        self,
        host: str,
        addresses: tuple[str, ...],
        path: str,
        *,
        most: int,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """GET, or POST when there is `content`, at the first address that can be connected to.

        host: A-labels; the certificate has to be for it. most: octets of an answer. Raises FetchError.
        """
        usable = [address for address in addresses if self.allowed(address)]
        if not usable:
            raise FetchError(f"{host} has no address that may be spoken to")
        context = await self._ready()
        trouble = FetchError(f"{host} does not answer")
        for address in usable[:_MOST_ADDRESSES]:
            connection = _Connection(host, address, self.port, context)
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(
                self._threads, _talk, connection, path, most, content, {"User-Agent": "postroad", **(headers or {})}
            )
            try:
                async with asyncio.timeout(_LONGEST):
                    return await work
            except TimeoutError:
                trouble = FetchError(f"{host} [{address}] takes too long")
            except ssl.SSLCertVerificationError as error:
                raise FetchError(
                    f"certificate of {host} not accepted: {printable(error.verify_message, 200)}", certificate=True
                ) from None
            except (OSError, http.client.HTTPException) as error:
                trouble = FetchError(f"{host} [{address}]: {printable(_words(error), 200)}")
            finally:
                connection.cut()
        raise trouble

    async def _ready(self) -> ssl.SSLContext:
        if self._context is None:
            try:
                self._context = await asyncio.get_running_loop().run_in_executor(
                    self._threads,
                    lambda: ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None),
                )
            except OSError as error:
                words = printable(_words(error), 200)
                raise FetchError(f"certificate authority file {self.ca_file} cannot be used: {words}") from None
        return self._context

    def close(self) -> None:
        """Begin nothing more; does not wait for requests under way, which end by their time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _talk(connection: _Connection, path: str, most: int, content: bytes | None, headers: Mapping[str, str]) -> Answer:
    try:
        connection.request("POST" if content is not None else "GET", path, body=content, headers=dict(headers))
        response = connection.getresponse()
        body = response.read(most + 1)
        if len(body) > most:
            raise OSError(f"the answer has more than {most} bytes")
        media = response.headers.get_content_type() if "Content-Type" in response.headers else ""
        return Answer(response.status, media.lower(), body)
    finally:
        connection.end()
