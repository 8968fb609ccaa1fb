# SPDX-License-Identifier: GPL-3.0-or-later
"""The line between the supervisor and one worker: a socket pair, JSON objects one a line, calls both ways.

A call is ``{"call": 7, "command": "status", "arguments": {}}`` and is answered by ``{"reply": 7, "result": ...}`` or
``{"reply": 7, "error": {"code": ..., "message": ...}}``; without ``call`` it is a notice that nobody answers. Either
side learns of the other's death by the end of the stream, however it died.

The descriptor is read and written here and not by an asyncio transport, because a supervisor that replaces itself
must take along every byte that was read and not yet understood, or said and not yet written.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from relay_agent.control.protocol import FAILED, UNKNOWN_COMMAND, ControlError, encode

__all__ = ["Channel", "ChannelClosedError", "Detached"]

_LOG = logging.getLogger(__name__)
_BLOCK = 262_144
_LONGEST = 64 << 20  # bytes of a line: a page of the queue's list takes some megabytes

Handler = Callable[[dict[str, Any]], Any]


class ChannelClosedError(ControlError):
    """The other side is gone."""

    def __init__(self) -> None:
        super().__init__(FAILED, "the process on the other side has ended")


@dataclass(frozen=True)
class Detached:
    """A channel at rest: the descriptor and what was on its way."""

    fd: int
    unread: bytes
    unsent: bytes
    calls: int


class Channel:
    """One end. Handlers take the arguments and return the result or an awaitable of it; they may raise ControlError.

    on_close: called once, when the other side has ended. `restored` goes on where another image of this process
    left off; answers to calls that it made are dropped.
    """

    def __init__(
        self,
        end: socket.socket,
        handlers: Mapping[str, Handler],
        on_close: Callable[[], None],
        *,
        restored: Detached | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = end
        self._socket.setblocking(False)
        self._handlers = handlers
        self._on_close = on_close
        self._in = bytearray(restored.unread if restored else b"")
        self._out = bytearray(restored.unsent if restored else b"")
        self._calls = restored.calls if restored else 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._written = asyncio.Event()
        self._open = True
        self._attach()

    def _attach(self) -> None:
        self._loop.add_reader(self._socket, self._readable)
        if not self._out:
            self._written.set()
        else:
            self._loop.add_writer(self._socket, self._writable)
        if self._in:
            self._loop.call_soon(self._understand)

    async def call(self, command: str, *, within: float | None = 30.0, **arguments: Any) -> Any:
        """The other side's result, in `within` seconds (None: however late it comes).

        Raises ControlError, ChannelClosedError among them, and TimeoutError; an answer that comes after that is lost.
        """
        if not self._open:
            raise ChannelClosedError
        self._calls += 1
        number = self._calls
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[number] = future
        self._send({"call": number, "command": command, "arguments": arguments})
        try:
            async with asyncio.timeout(within):
                return await future
        finally:
            self._waiting.pop(number, None)

    def notice(self, command: str, **arguments: Any) -> None:
        """Tell the other side something; without an answer, and without an error when it is gone."""
        if self._open:
            self._send({"command": command, "arguments": arguments})

    def detach(self) -> Detached:
        """Stop, keeping the descriptor open: for a process that replaces itself. `resume` takes it back."""
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        return Detached(self._socket.fileno(), bytes(self._in), bytes(self._out), self._calls)

    def resume(self) -> None:
        """Go on after `detach`: the process was not replaced after all."""
        if self._open:
            self._attach()

    async def flush(self, seconds: float) -> None:
        """Wait until everything that was said is written, or the time is over."""
        try:
            async with asyncio.timeout(seconds):
                await self._written.wait()
        except TimeoutError:
            pass

    def close(self) -> None:
        """End the channel; calls under way fail."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._written.set()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ChannelClosedError())
                future.exception()  # whoever waits gets it; nobody may be waiting any more
        for task in self._tasks:
            task.cancel()

    def _ended(self) -> None:
        if self._open:
            self.close()
            self._on_close()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_BLOCK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._in += data
        self._understand()
        if not data:
            self._ended()

    def _understand(self) -> None:
        while self._open and (end := self._in.find(b"\n")) >= 0:
            line = bytes(self._in[:end])
            del self._in[: end + 1]
            try:
                message = _message(line)
            except (ValueError, RecursionError) as error:
                self._lost_its_mind(str(error))
                return
            self._take(message)
        if len(self._in) > _LONGEST:
            self._lost_its_mind(f"a line of more than {_LONGEST} bytes")

    def _lost_its_mind(self, reason: str) -> None:
        """What follows nonsense means nothing, and whoever waits for an answer must not wait for ever."""
        if self._open:
            _LOG.error("what came from another of the agent's processes makes no sense: %.200s", reason)
            self._ended()

    def _take(self, message: dict[str, Any]) -> None:
        if "reply" in message:
            future = self._waiting.get(message["reply"])
            if future is None or future.done():
                return
            if "error" in message:
                error = message["error"]
                future.set_exception(ControlError(error["code"], error["message"]))
            else:
                future.set_result(message["result"])
            return
        number = message.get("call")
        try:
            handler = self._handlers.get(message["command"])
            if handler is None:
                raise ControlError(UNKNOWN_COMMAND, f"{message['command']} is not known to this process")
            result = handler(message["arguments"])
        except Exception as error:
            self._answer_error(number, error)
            return
        if asyncio.iscoroutine(result):
            task = self._loop.create_task(self._finish(number, result))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: result.close())  # a task that is cancelled first never begins it
        else:
            self._answer(number, result)

    async def _finish(self, number: int | None, work: Any) -> None:
        try:
            result = await work
        except Exception as error:
            self._answer_error(number, error)
        else:
            self._answer(number, result)

    def _answer(self, number: int | None, result: Any) -> None:
        if number is None:
            return
        try:
            self._send({"reply": number, "result": result})
        except (ValueError, TypeError) as error:  # it is nothing that JSON has
            self._answer_error(number, error)

    def _answer_error(self, number: int | None, error: Exception) -> None:
        if not isinstance(error, ControlError):
            _LOG.error("a command between the agent's processes failed", exc_info=error)
        if number is not None:
            code = error.code if isinstance(error, ControlError) else FAILED
            text = str(error) or type(error).__name__
            self._send({"reply": number, "error": {"code": code, "message": text}})

    def _send(self, message: dict[str, Any]) -> None:
        if not self._open:
            return
        line = encode(message)
        idle = not self._out
        self._written.clear()
        self._out += line
        if idle:
            self._writable()

    def _writable(self) -> None:
        try:
            while self._out:
                del self._out[: self._socket.send(memoryview(self._out)[:_BLOCK].tobytes())]
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._socket, self._writable)
            return
        except OSError:
            self._out.clear()  # the reader's side sees the end
        self._written.set()
        self._loop.remove_writer(self._socket)


def _message(line: bytes) -> dict[str, Any]:
    """One line, checked. Raises ValueError and RecursionError for what no channel sends."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("it is no object")
    if "reply" in message:
        error = message.get("error")
        whole = isinstance(error, dict) and all(isinstance(error.get(key), str) for key in ("code", "message"))
        if not isinstance(message["reply"], int) or not (whole if "error" in message else "result" in message):
            raise ValueError("it is no answer")
    elif not isinstance(message.get("command"), str) or not isinstance(message.get("arguments"), dict):
        raise ValueError("it is no command")
    elif not isinstance(message.get("call"), int | None):
        raise ValueError("its number is none")
    return message
