# SPDX-License-Identifier: GPL-3.0-or-later
"""The port that Prometheus reads from: GET and HEAD of a few fixed pages over HTTP/1.1, and nothing else (RFC 9112).

A request is its head, up to the blank line, of which method, path and Accept count. Its size, its time and the number
of connections are limited, and a connection is for one request: nothing here can grow by what a client does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

__all__ = ["Endpoint", "Page", "listen"]

_LOG = logging.getLogger(__name__)
_MOST_CONNECTIONS: Final = 16
_LONGEST_HEAD: Final = 8192  # bytes
_REQUEST_WITHIN: Final = 5.0  # seconds
_ANSWER_WITHIN: Final = 15.0  # seconds, for making the page and its being read
_PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Page:
    """An answer."""

    text: str
    type: str = _PLAIN
    status: HTTPStatus = HTTPStatus.OK


# Takes the request's Accept header, "" without one.
Maker = Callable[[str], Awaitable[Page]]


def listen(address: str, port: int) -> socket.socket:
    """A listening socket at an IP address. Raises OSError."""
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    listening = socket.create_server((address, port), family=family, backlog=_MOST_CONNECTIONS)
    listening.setblocking(False)
    return listening


class Endpoint:
    """Serves pages by their path at a socket that listens."""

    def __init__(
        self,
        listening: socket.socket,
        pages: Mapping[str, Maker],
        *,
        most_connections: int = _MOST_CONNECTIONS,
        request_within: float = _REQUEST_WITHIN,
        answer_within: float = _ANSWER_WITHIN,
    ) -> None:
        self._listening = listening
        self._pages = dict(pages)
        self._most = most_connections
        self._request_within = request_within
        self._answer_within = answer_within
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to answer."""
        self._server = await asyncio.start_server(self._accept, sock=self._listening, limit=_LONGEST_HEAD)

    async def close(self, *, keep: bool = False) -> socket.socket | None:
        """Stop, cutting off requests under way. keep: the socket goes on listening and is returned."""
        kept = self._listening.dup() if keep else None
        if self._server is not None:
            self._server.close()
        sessions = list(self._sessions)
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)
        self._server = None
        return kept

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        try:
            if len(self._sessions) <= self._most:
                await self._serve(reader, writer)
        except (ConnectionError, TimeoutError):
            pass  # the client went away, or does not read
        except asyncio.CancelledError:
            if self._server is not None and self._server.is_serving():
                raise
        finally:
            self._sessions.discard(task)
            # Whoever does not read keeps nothing: what is not written by now is dropped.
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            else:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head_only = False
        try:
            async with asyncio.timeout(self._request_within):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            page = _problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except TimeoutError:
            page = _problem(HTTPStatus.REQUEST_TIMEOUT)
        else:
            head_only = head.startswith(b"HEAD ")
            async with asyncio.timeout(self._answer_within):
                page = await self._answer(head)
        writer.write(_encoded(page, head_only=head_only))
        async with asyncio.timeout(self._answer_within):
            await writer.drain()
            with contextlib.suppress(OSError, RuntimeError):
                writer.write_eof()
            # Closing on unread input resets the connection, and the client may lose the answer with it.
            for _ in range(4):
                if not await reader.read(_LONGEST_HEAD):
                    break

    async def _answer(self, head: bytes) -> Page:
        request, *headers = head.decode("latin-1").split("\r\n")
        words = request.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _problem(HTTPStatus.BAD_REQUEST)
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return _problem(HTTPStatus.METHOD_NOT_ALLOWED)
        maker = self._pages.get(target.partition("?")[0])
        if maker is None:
            return Page(f"Not here; there are {', '.join(self._pages)}\n", status=HTTPStatus.NOT_FOUND)
        try:
            return await maker(_accept(headers))
        except Exception:
            _LOG.exception("a page of the metrics port failed")
            return _problem(HTTPStatus.INTERNAL_SERVER_ERROR)


def _accept(headers: list[str]) -> str:
    return next((value for line in headers if (value := _field(line, "accept")) is not None), "")


def _field(line: str, name: str) -> str | None:
    found, colon, value = line.partition(":")
    return value.strip() if colon and found.lower() == name else None


def _problem(status: HTTPStatus) -> Page:
    return Page(f"{status.phrase}\n", status=status)


def _encoded(page: Page, *, head_only: bool) -> bytes:
    body = page.text.encode()
    lines = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if page.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if head_only else body)
