# SPDX-License-Identifier: GPL-3.0-or-later
"""A session's connection before TLS: a socket, read and written without anything between.

asyncio's own transports come from a server that makes a task and a future for each connection, and keep what they
have read from whoever wants to start TLS. This one is made in place, reads into one buffer that all connections
share, and gives its socket away unread.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

__all__ = ["PlainTransport"]

_SPACE = bytearray(262_144)  # where all connections of this process are read into, one after the other
_VIEW = memoryview(_SPACE)
_LITTLE = _VIEW[:16_384]  # what is read at once of a client that is not known
_HIGH = 65_536  # bytes that wait to be sent, beyond which the protocol is to pause
_LOW = 16_384


class PlainTransport(asyncio.Transport):
    """Connects a socket, which must not block, with a protocol. Reading begins with `resume_reading`.

    What `data_received` gets is a view of a shared buffer: it has to be copied before it returns.
    """

    _space = _LITTLE

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connection: socket.socket, protocol: asyncio.Protocol, peer: Any
    ) -> None:
        super().__init__()
        self._loop = loop
        self._socket = connection
        self._fd = connection.fileno()  # asyncio asks a socket for both its addresses only to find it is a new one
        self._protocol = protocol
        self._peer = peer
        self._out = bytearray()
        self._reading = False
        self._closing = False
        self._paused_writing = False
        self._drained: asyncio.Future[None] | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername` and `socket`; there is nothing more to know."""
        return {"peername": self._peer, "socket": self._socket}.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    # ---- reading --------------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        if not self._reading and not self._closing:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def read_large(self) -> None:
        """Read as much at once as there is, from now on."""
        self._space = _VIEW

    def _readable(self) -> None:
        try:
            count = self._socket.recv_into(self._space)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(error)
            return
        if count:
            try:
                self._protocol.data_received(_VIEW[:count])  # type: ignore[arg-type]
            except Exception as error:
                # Whatever it was about to do with these bytes is half done: as in asyncio, that is the end.
                self._loop.call_exception_handler(
                    {"message": "a session failed", "exception": error, "transport": self, "protocol": self._protocol}
                )
                self._fail(error)
            return
        self.pause_reading()
        if not self._protocol.eof_received():
            self.close()

    # ---- writing --------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        if not self._out:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._fail(error)
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
            self._loop.add_writer(self._fd, self._writable)
        self._out += data
        if len(self._out) > _HIGH and not self._paused_writing:
            self._paused_writing = True
            self._protocol.pause_writing()

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._out)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(error)
            return
        del self._out[:sent]
        if self._paused_writing and len(self._out) <= _LOW:
            self._paused_writing = False
            self._protocol.resume_writing()
        if self._out:
            return
        self._loop.remove_writer(self._fd)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._closing:
            self._loop.call_soon(self._lost, None)

    def get_write_buffer_size(self) -> int:
        return len(self._out)

    def can_write_eof(self) -> bool:
        return False

    # ---- the end --------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """End when everything is sent."""
        if self._closing:
            return
        self.pause_reading()
        self._closing = True
        if not self._out:
            self._loop.call_soon(self._lost, None)

    def abort(self) -> None:
        self._fail(None)

    def _fail(self, error: Exception | None) -> None:
        if self._closing and not self._out:
            return  # on its way out already
        self.pause_reading()
        if self._out:
            self._out.clear()
            self._loop.remove_writer(self._fd)
        self._closing = True
        self._loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(error or ConnectionAbortedError())
        self._socket.close()
        self._protocol.connection_lost(error)

    async def give_socket(self) -> socket.socket:
        """Send what there is, then give the socket away, which nobody has read from since: the caller's from now
        on. The protocol hears no more of this transport. Raises OSError when the connection is lost before."""
        self.pause_reading()
        if self._closing:
            raise ConnectionAbortedError
        if self._out:
            self._drained = self._loop.create_future()
            await self._drained
            if self._closing:  # since then
                raise ConnectionAbortedError
        self._closing = True
        return self._socket
