# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels over the control socket: one JSON object a line, one request a connection.

Request:  {"command": "queue.list", "arguments": {"limit": 10}}
Answer:   any number of {"item": ...}, then {"result": ...} or {"error": {"code": "...", "message": "..."}}.
"""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = [
    "BAD_REQUEST",
    "FAILED",
    "MAX_LINE",
    "MAX_REQUEST",
    "MOVED",
    "NOT_FOUND",
    "UNKNOWN_COMMAND",
    "WAITS",
    "ControlError",
    "encode",
]

MAX_REQUEST: Final = 65_536  # bytes of a request
MAX_LINE: Final = 16 * 1024 * 1024  # bytes of one line of an answer

UNKNOWN_COMMAND: Final = "unknown-command"
BAD_REQUEST: Final = "bad-request"
NOT_FOUND: Final = "not-found"
FAILED: Final = "failed"
MOVED: Final = "moved"  # between the agent's own processes: another one has it
WAITS: Final = "waits"  # between the agent's own processes: not at the moment, as there is no room on the disk


class ControlError(Exception):
    """The agent refused or failed; `code` is for programs, str() for people."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def encode(value: dict[str, Any]) -> bytes:
    """One line of the protocol."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
