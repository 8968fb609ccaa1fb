# SPDX-License-Identifier: GPL-3.0-or-later
"""An event loop for one input after another: its time is its own, and it returns when nothing is left to do."""

from __future__ import annotations

import asyncio
import selectors
import socket
import ssl
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack

__all__ = ["FuzzLoop", "Wire"]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class _Selector(selectors.DefaultSelector):
    """Looks at the sockets, and where they have nothing lets the time pass at once."""

    loop: FuzzLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            self.loop.stop()
        elif timeout > 0:
            self.loop.passed += timeout
        return []


class FuzzLoop(asyncio.SelectorEventLoop):
    """Waits cost nothing here. `faults`: what a task or a callback raised and nobody took."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.faults: list[str] = []
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.set_exception_handler(self._note)

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")

    def time(self) -> float:
        """Seconds, as far as this loop is concerned."""
        return self.passed

    def settle(self) -> None:
        """Run until every task waits for something that only the caller can bring about."""
        self.run_forever()
        assert not self.faults, self.faults

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine that needs nothing from the caller."""
        task = self.create_task(work)
        self.settle()
        assert task.done(), "it waits for ever"
        return task.result()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """What is for a thread is done at once."""
        done: asyncio.Future[_T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    async def start_tls(self, *_: Any, **__: Any) -> Any:
        """There is no TLS here: whoever asks for it hears that the handshake failed."""
        raise ssl.SSLError("no handshake")

    async def connect_accepted_socket(self, *arguments: Any, **_: Any) -> Any:
        """Nor on a socket that was accepted."""
        arguments[1].close()
        raise ssl.SSLError("no handshake")


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and says when nobody may write to the other side any more."""

    def __init__(self, ssl_object: object = None) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "ssl_object": ssl_object})
        self.written = bytearray()
        self.writes = 0
        self.closed = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "written to behind its end"
        self.written += data
        self.writes += 1

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    async def give_socket(self) -> socket.socket:
        self.closed = True
        return socket.socket()
