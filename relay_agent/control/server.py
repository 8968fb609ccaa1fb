# SPDX-License-Identifier: GPL-3.0-or-later
"""The running agent's side of the control socket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import socket
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from .protocol import BAD_REQUEST, FAILED, MAX_REQUEST, UNKNOWN_COMMAND, ControlError, encode

__all__ = ["ControlServer", "Handler"]

Handler = Callable[[dict[str, Any]], Awaitable[Any]]

_LOG = logging.getLogger(__name__)
_MAX_PATH = 107  # bytes that fit sockaddr_un


class ControlServer:
    """Answers commands at a Unix socket, mode 0660.

    A handler takes the arguments and returns the result; one that returns an async iterator answers with its
    items one by one. It may raise ``ControlError``. Anything else that it raises is logged here, with its
    traceback, and answered in one line. `listening`: a socket that is bound there already, see `detach`.
    """

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        *,
        mode: int = 0o660,
        request_timeout: float = 10.0,
        write_timeout: float = 60.0,
        max_connections: int = 32,
        listening: socket.socket | None = None,
    ) -> None:
        self._path = path
        self._handlers = dict(handlers)
        self._mode = mode
        self._request_timeout = request_timeout
        self._write_timeout = write_timeout
        self._max_connections = max_connections
        self._listening = listening
        self._server: asyncio.Server | None = None
        self._inode: tuple[int, int] | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises ``OSError`` when the path cannot be used or another agent listens there."""
        listening = self._bind() if self._listening is None else self._adopt(self._listening)
        try:
            self._server = await _start_server(self._accept, listening)
        except BaseException:
            listening.close()
            raise

    async def detach(self, seconds: float) -> socket.socket:
        """Stop, for a process that replaces itself: the listening socket, which stays open with its backlog.

        Sessions have `seconds` to end; later ones are cut off.
        """
        assert self._server is not None
        listening = self._server.sockets[0].dup()
        self._server.close()
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=seconds)
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        self._server = None
        return listening

    async def close(self) -> None:
        """Stop listening, end the sessions, remove the socket if it is still ours."""
        if self._server is None:
            return
        self._server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        with contextlib.suppress(OSError):
            found = self._path.lstat()
            if (found.st_dev, found.st_ino) == self._inode:
                self._path.unlink()
        self._server = None

    def _bind(self) -> socket.socket:
        name = str(self._path)
        if len(name.encode()) > _MAX_PATH:
            raise OSError(errno.ENAMETOOLONG, f"longer than the {_MAX_PATH} bytes that a socket's path may have", name)
        self._clear_way()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            try:
                listening.bind(name)
            except OSError as error:
                raise OSError(error.errno, error.strerror, name) from None
            self._path.chmod(self._mode)
            listening.listen(self._max_connections)
            found = self._path.lstat()
            self._inode = (found.st_dev, found.st_ino)
        except BaseException:
            listening.close()
            raise
        return listening

    def _adopt(self, listening: socket.socket) -> socket.socket:
        """Go on with a socket of `detach`."""
        listening.setblocking(False)
        found = self._path.lstat()
        self._inode = (found.st_dev, found.st_ino)
        return listening

    def _clear_way(self) -> None:
        """Remove a socket that a dead agent left; refuse anything else that is in the way."""
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise FileExistsError(errno.EEXIST, "is in the way and not a socket", str(self._path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self._path))
            except ConnectionRefusedError:
                self._path.unlink(missing_ok=True)
                return
            except FileNotFoundError:
                return
            except TimeoutError:
                pass  # somebody holds it, however busy
        raise OSError(errno.EADDRINUSE, "another agent listens there", str(self._path))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        try:
            if len(self._sessions) > self._max_connections:
                await self._send(writer, _error(FAILED, "too many control sessions at once; try again"))
                return
            await self._serve(reader, writer)
        except (ConnectionError, TimeoutError):
            # The client went away, or never reads. close() would wait for as long as it does not.
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()
            if self._server is not None and self._server.is_serving():
                raise
        finally:
            self._sessions.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._request_timeout):
                line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            await self._send(writer, _error(BAD_REQUEST, f"a request has at most {MAX_REQUEST} bytes"))
            return
        except asyncio.IncompleteReadError:
            return
        except TimeoutError:
            await self._send(writer, _error(BAD_REQUEST, f"no request within {self._request_timeout:.0f} s"))
            return
        try:
            command, arguments = _parse(line)
            handler = self._handlers.get(command)
            if handler is None:
                known = ", ".join(sorted(self._handlers))
                raise ControlError(UNKNOWN_COMMAND, f"{command!a:.80} is not a command of this agent (known: {known})")
            result = await handler(arguments)
            if isinstance(result, AsyncIterator):
                async for item in result:
                    await self._send(writer, {"item": item})
                result = None
            await self._send(writer, {"result": result})
        except ControlError as error:
            await self._send(writer, _error(error.code, str(error)))
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:
            _LOG.exception("control command failed")
            await self._send(writer, _error(FAILED, f"the agent failed at it: {error or type(error).__name__}"))

    async def _send(self, writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
        writer.write(encode(answer))
        async with asyncio.timeout(self._write_timeout):
            await writer.drain()


async def _start_server(
    accept: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], listening: socket.socket
) -> asyncio.Server:
    if sys.version_info >= (3, 13):
        # From 3.13 on a server removes its path when it closes, which a process that replaces itself goes on using.
        return await asyncio.start_unix_server(accept, sock=listening, limit=MAX_REQUEST, cleanup_socket=False)
    return await asyncio.start_unix_server(accept, sock=listening, limit=MAX_REQUEST)


def _parse(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError(BAD_REQUEST, "the request is not a line of JSON") from None
    command = request.get("command") if isinstance(request, dict) else None
    arguments = request.get("arguments", {}) if isinstance(request, dict) else None
    if not isinstance(command, str) or not isinstance(arguments, dict):
        raise ControlError(BAD_REQUEST, 'expected {"command": "...", "arguments": {...}}')
    return command, arguments


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
