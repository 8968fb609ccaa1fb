# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the running agent. Blocking and small: the commands that use it start in milliseconds."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .protocol import FAILED, MAX_LINE, ControlError, encode

__all__ = ["AgentNotRunningError", "ControlClient"]


class AgentNotRunningError(Exception):
    """Nobody listens at the control socket."""


class ControlClient:
    """The agent behind a control socket. Each call is a connection of its own.

    `timeout` is the longest silence of the agent in seconds, not the length of the whole answer.
    """

    def __init__(self, path: Path, *, timeout: float = 30.0) -> None:
        self._path = path
        self._timeout = timeout

    def call(self, command: str, **arguments: Any) -> Any:
        """The result of a command.

        Raises ``AgentNotRunningError``, ``PermissionError`` when the socket is not ours to use, and
        ``ControlError`` when the agent refused or did not answer in time.
        """
        result: Any = None
        for answer in self._answers(command, arguments):
            result = answer.get("result")
        return result

    def stream(self, command: str, **arguments: Any) -> Iterator[Any]:
        """The items of a command that answers with many, as they arrive. Raises as `call` does."""
        for answer in self._answers(command, arguments):
            if "item" in answer:
                yield answer["item"]

    def _answers(self, command: str, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
        with self._connect() as connection:
            try:
                # An agent that sends us away does so before it has read all: its reason is still to be had.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.sendall(encode({"command": command, "arguments": arguments}))
                with connection.makefile("rb") as lines:
                    while line := lines.readline(MAX_LINE):
                        answer = _decode(line)
                        if "error" in answer:
                            error = answer["error"]
                            raise ControlError(str(error.get("code", FAILED)), str(error.get("message", "")))
                        yield answer
                        if "result" in answer:
                            return
            except TimeoutError:
                message = f"the agent did not answer within {self._timeout:.0f} s"
                raise ControlError(FAILED, message) from None
            except (BrokenPipeError, ConnectionResetError):
                pass
        raise ControlError(FAILED, "the agent closed the connection in the middle of its answer")

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout)
        try:
            connection.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            connection.close()
            raise AgentNotRunningError(f"no agent listens at {self._path}") from None
        except PermissionError:
            connection.close()
            raise PermissionError(
                f"{self._path} may be used only by root and by members of the agent's group"
            ) from None
        except TimeoutError:
            connection.close()
            raise ControlError(FAILED, "the agent takes no connection on its control socket") from None
        except OSError as error:
            connection.close()
            raise ControlError(FAILED, f"{self._path}: {error.strerror or error}") from None
        return connection


def _decode(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("error", {}), dict):
        raise ControlError(FAILED, "the answer at the control socket is not the agent's; is it another program?")
    return answer
